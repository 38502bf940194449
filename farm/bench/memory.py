"""Whether a worker's memory stays flat while checkpoints come and go, and how many loads keeping several avoids."""

import random
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select

from farm import config
from farm.bench.scratch import scratch_folder
from farm.client import Client
from farm.db.connection import Database, Role
from farm.db.tables.workers import Worker
from farm.embedded.machine import LocalFarm
from farm.errors import FarmError
from farm.intake.request import parse_request
from farm.processes import programs
from farm.weights import checkpoints as catalog
from farm.weights.folder import inspect_folder

_SCALE = 4
_SEED = 1
# What belongs to a checkpoint beside its files: encoded texts.
_ROOM = 1.05
_LOADED = "Loaded a checkpoint."


@dataclass(frozen=True)
class MemoryFigures:
    """The worker's resident bytes after each job, its loads in all, and how large one checkpoint is on disk.

    `fewest_loads` is what is least where the one that was not used for longest goes first.
    """

    resident_bytes: list[int]
    checkpoints: int
    checkpoint_bytes: int
    loads: int
    fewest_loads: int

    @property
    def most_bytes(self) -> int:
        return max(self.resident_bytes)

    @property
    def loads_avoided(self) -> int:
        """Each job has another checkpoint than the one before: with one resident each would load."""
        return len(self.resident_bytes) - self.loads

    @property
    def thirds(self) -> tuple[float, float, float]:
        """The median of each third of the jobs, once every checkpoint was loaded once."""
        settled = self.resident_bytes[self.checkpoints :]
        size = max(1, len(settled) // 3)
        first, last = settled[:size], settled[-size:]
        return statistics.median(first), statistics.median(settled[size:-size] or settled), statistics.median(last)

    @property
    def growth(self) -> float:
        """The last third against the first."""
        return self.thirds[2] / self.thirds[0]


def measure(jobs: int, checkpoints: int, residents: int) -> MemoryFigures:
    """Render so many jobs of one image on one CPU worker, each with another checkpoint than the one before.

    The worker has room for so many residents.
    """
    order = choose_order(jobs, checkpoints)
    with scratch_folder() as folder:
        names = [f"bench-{number}" for number in range(checkpoints)]
        sizes = [_build(folder / name, seed) for seed, name in enumerate(names)]
        budget = int(residents * max(sizes) * _ROOM)
        settings = config.load_given(data_dir=folder / "data", port=0, resident_bytes=budget)
        with LocalFarm(settings, "cpu") as farm:
            client = Client(farm.url)
            farm.wait_until_ready(client.is_ready)
            database = Database.of(farm.settings, Role.TOOL)
            with database.begin() as session:
                for name in names:
                    catalog.add(session, name, inspect_folder(folder / name))
            found = [_render(farm, client, database, names[number]) for number in order]
            database.close()
        loads = (folder / "data" / "logs" / "worker.log").read_text().count(_LOADED)
    return MemoryFigures(found, checkpoints, max(sizes), loads, count_loads(order, residents))


def choose_order(jobs: int, checkpoints: int) -> list[int]:
    """Which checkpoint each job has: first each once, then at random, the first ones more often (1, 1/2, 1/3, ...).

    No job has that of the one before, and every call gives the same order.
    """
    chance, order = random.Random(_SEED), list(range(checkpoints))[:jobs]
    weights = [1 / (number + 1) for number in range(checkpoints)]
    while len(order) < jobs:
        [number] = chance.choices(range(checkpoints), weights)
        if number != order[-1]:
            order.append(number)
    return order


def count_loads(order: Sequence[int], residents: int) -> int:
    """How often a device loads that keeps so many checkpoints, and drops the one that was not used for longest."""
    kept: list[int] = []
    loads = 0
    for number in order:
        loads += number not in kept
        kept = [*(other for other in kept if other != number), number][-residents:]
    return loads


def _build(folder: Path, seed: int) -> int:
    command = programs.build_command("workers.bench.random_checkpoint", str(folder), str(seed), str(_SCALE))
    subprocess.run(command, env=programs.inherit_environment(), check=True)
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _render(farm: LocalFarm, client: Client, database: Database, checkpoint: str) -> int:
    """Render one image; return the bytes that the worker has resident afterwards."""
    fields = {"prompts": ["a lighthouse"], "width": 128, "height": 128, "num_inference_steps": 2}
    job, _ = client.submit(parse_request({**fields, "checkpoint": checkpoint}))
    while not (job := client.job(job.id)).is_final:
        farm.keep_running()
    if job.status != "succeeded":
        raise FarmError(f"A job of the bench ended as {job.status}: {next(client.tasks(job.id)).reason}")
    with database.begin() as session:
        parent = session.scalars(select(Worker.pid).where(Worker.status != "offline")).one()
    return sum(_resident_bytes(pid) for pid in _list_children(parent))


def _list_children(parent: int) -> list[int]:
    """The ids of the process's children, from Linux's /proc."""
    return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def _resident_bytes(pid: int) -> int:
    line = next(x for x in Path(f"/proc/{pid}/status").read_text().splitlines() if x.startswith("VmRSS"))
    return int(line.split()[1]) * 1024
