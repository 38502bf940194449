"""The farm under a simulated fleet: its servers, its keeper, its owners, its checkpoints and its jobs."""

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import insert, select

from farm.bench.fleet import calls
from farm.bench.fleet.options import POOL, FleetOptions
from farm.bench.fleet.work import PlannedJob
from farm.config import Settings
from farm.db.connection import Database
from farm.db.tables.accounts import User
from farm.db.tables.weights import Checkpoint
from farm.embedded.child import spawn, stop
from farm.embedded.machine import build_environment
from farm.intake.library import KnownCheckpoint
from farm.processes import programs
from farm.queue.doorbell import Doorbell
from farm.spec.families import FAMILIES

_FAMILY = "sd15"
_KEEPER = "the keeper"
_MOST_RINGS = 16


@dataclass(frozen=True)
class BenchFarm:
    """A farm, mostly with a keeper at work. `parts` are the ids of its processes, by what they are called."""

    settings: Settings
    database: Database
    parts: Mapping[str, int]

    @property
    def has_keeper(self) -> bool:
        return _KEEPER in self.parts


@contextmanager
def keep(settings: Settings, database: Database, folder: Path, servers: Mapping[str, int]) -> Iterator[BenchFarm]:
    """Have a keeper look after the farm, in a process of its own as in life."""
    command = programs.build_command("farm", "keeper")
    keeper = spawn(command, env=build_environment(settings), log=folder / "keeper.log")
    try:
        yield BenchFarm(settings, database, {**servers, _KEEPER: keeper.pid})
    finally:
        stop(keeper, grace_seconds=10)


def fill(database: Database, options: FleetOptions) -> Sequence[KnownCheckpoint]:
    """Enter the owners and the checkpoints, without files; return these."""
    names = [f"checkpoint-{number}" for number in range(options.checkpoints)]
    with database.begin() as session:
        session.execute(insert(User), [{"name": calls.owner_name(number)} for number in range(options.owners)])
        session.execute(insert(Checkpoint), [_checkpoint_row(name) for name in names])
        ids = {name: found for found, name in session.execute(select(Checkpoint.id, Checkpoint.name))}
    return [KnownCheckpoint(ids[name], name, FAMILIES[_FAMILY], _digest(name)) for name in names]


def submit_all(
    farm: BenchFarm, arrivals: Sequence[tuple[float, PlannedJob]], checkpoints: Sequence[KnownCheckpoint]
) -> None:
    """Submit each job when its moment has come, in seconds from now."""
    began = time.monotonic()
    doorbell = Doorbell(farm.settings.required_redis_url)
    for due, job in arrivals:
        time.sleep(max(0.0, began + due - time.monotonic()))
        calls.submit(farm.database, job, checkpoints, attempt_limit=farm.settings.max_attempts)
        if due:
            doorbell.ring(POOL, times=min(job.images, _MOST_RINGS))
    doorbell.close()


def _checkpoint_row(name: str) -> dict[str, str]:
    return {"name": name, "family": _FAMILY, "sha256": _digest(name), "location": f"/nowhere/{name}"}


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
