"""One run of a mix: on a farm as `farm up` starts it, or on the plain one."""

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import boto3
import httpx
import numpy as np
from sqlalchemy import text

from farm import accounts, config
from farm.client import Client
from farm.db.connection import Database, Role
from farm.embedded.machine import LocalFarm
from farm.embedded.redis import Redis
from farm.queue.claim import ClaimedCheckpoint
from farm.reports.shapes import ImageReport
from farm.weights import checkpoints
from farm.weights.folder import inspect_folder
from tests.bench import plainfarm
from tests.bench.bucket import BUCKET, read_pixels
from tests.bench.mix import Mix
from tests.waiting import wait_until
from workers.parent.children import share_threads

# A message of `workers.model.pipelines`.
_LOADED = "Loaded a checkpoint."
_LAST_END = "SELECT max(extract(epoch FROM finished_at)) FROM jobs HAVING bool_and(finished_at IS NOT NULL)"
_PATIENCE_SECONDS = 3600.0


@dataclass(frozen=True)
class Rendered:
    """One image: what it was made of, its pixels (uint8, height x width x 3), and the bucket of its batch."""

    spec: Mapping[str, Any]
    pixels: np.ndarray
    bucket: int


@dataclass(frozen=True)
class Run:
    """The images in the order of the mix; `seconds` from the first request to the last image kept.

    `loads` are the seconds of each load of weights, on whichever device; `machine_load` is the load average over
    the last minute: where it exceeds the number of workers by more than one or two, others use the machine.
    """

    seconds: float
    loads: Sequence[float]
    images: Sequence[Rendered]
    machine_load: float = 0.0


def render_on_farm(mix: Mix, weights: Path, folder: Path, endpoint: str, *, workers: int) -> Run:
    """Submit the mix over the API, each owner with a key of their own, to a farm that was just started."""
    store_url = f"s3://{BUCKET}/{folder.name}?endpoint={endpoint}"
    settings = config.load_given(data_dir=folder, port=0, store_url=store_url, log_format="json")
    with LocalFarm(settings, f"cpu:{workers}") as farm, ExitStack() as opened:
        local = opened.enter_context(Client(farm.url))
        farm.wait_until_ready(local.is_ready)
        database = opened.enter_context(closing(Database.of(farm.settings, Role.TOOL)))
        keys = _prepare(database, mix, weights)
        clients = {owner: opened.enter_context(Client(farm.url, key)) for owner, key in keys.items()}
        wait_until(lambda: sum(worker.status == "idle" for worker in local.workers()) == workers)
        started = time.time()
        jobs = _submit(mix, clients)
        wait_until(lambda: _last_end(database) is not None, _PATIENCE_SECONDS)
        ended, machine_load = _last_end(database), os.getloadavg()[0]
        assert ended is not None
        found = dict(_fetch(jobs, clients))
        loads = list(_read_loads(folder / "logs" / "worker.log"))
    return Run(ended - started, loads, [found[number] for number in range(mix.images)], machine_load)


def _prepare(database: Database, mix: Mix, weights: Path) -> dict[str, str]:
    """Register the checkpoints where they lie, and the owners; return their keys."""
    with database.begin() as session:
        for name in mix.checkpoints:
            checkpoints.add(session, name, inspect_folder(weights / name))
        return {owner: accounts.add_user(session, owner) for owner in mix.owners}


@dataclass(frozen=True)
class _Submitted:
    """A job, and the numbers in the mix of its images."""

    id: int
    owner: str
    numbers: Sequence[int]


def _submit(mix: Mix, clients: Mapping[str, Client]) -> list[_Submitted]:
    wishes = mix.wishes()
    submitted = []
    for numbers in mix.jobs(wishes):
        owner = wishes[numbers[0]].owner
        job, _warnings = clients[owner].submit(mix.request([wishes[number] for number in numbers]))
        submitted.append(_Submitted(job.id, owner, numbers))
    return submitted


def _last_end(database: Database) -> float | None:
    """When the last job ended, in seconds since 1970; None while one has not."""
    # Of Postgres: asking the portal about each job takes time from the workers.
    with database.begin() as session:
        found = session.execute(text(_LAST_END)).scalar()
    return None if found is None else float(found)


def _fetch(jobs: Sequence[_Submitted], clients: Mapping[str, Client]) -> Iterator[tuple[int, Rendered]]:
    for job in jobs:
        images = {image.seq: image for image in clients[job.owner].images(job.id)}
        for seq, number in enumerate(job.numbers):
            yield number, _read(images[seq])


def _read(image: ImageReport) -> Rendered:
    content = httpx.get(image.url).raise_for_status().content
    return Rendered(image.spec, read_pixels(content), image.provenance["bucket"])


def _read_loads(log: Path) -> Iterator[float]:
    for line in log.read_text().splitlines():
        if _LOADED in line:
            yield json.loads(line)["seconds"]


def render_on_plain_farm(
    mix: Mix, specs: Sequence[Mapping[str, Any]], weights: Path, folder: Path, endpoint: str, *, workers: int
) -> Run:
    """Send the specs in the order of the mix, one message each."""
    folder.mkdir()
    redis = Redis(folder / "redis", folder / "run")
    redis.start()
    known = [_known(number, name, weights / name) for number, name in enumerate(mix.checkpoints)]
    site = plainfarm.Site(redis.url, endpoint, BUCKET, [asdict(each) for each in known], share_threads(workers))
    try:
        with plainfarm.run_workers(site, workers, folder / "workers.log"):
            started = time.time()
            loads = plainfarm.render_all(site, specs)
            seconds, machine_load = time.time() - started, os.getloadavg()[0]
    finally:
        redis.stop()
    return Run(seconds, [load for load in loads if load], list(_read_objects(specs, endpoint)), machine_load)


def _known(number: int, name: str, folder: Path) -> ClaimedCheckpoint:
    found = inspect_folder(folder)
    return ClaimedCheckpoint(number, name, found.family, found.sha256, str(folder))


def _read_objects(specs: Sequence[Mapping[str, Any]], endpoint: str) -> Iterator[Rendered]:
    store = boto3.client("s3", endpoint_url=endpoint)
    for number, spec in enumerate(specs):
        content = store.get_object(Bucket=BUCKET, Key=plainfarm.key_of(number))["Body"].read()
        yield Rendered(spec, read_pixels(content), 1)
