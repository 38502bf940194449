"""Small simulated fleets, on real servers with a real keeper: what must hold, never how fast it was."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from farm.bench.fleet import ceiling, farm, report, run
from farm.bench.fleet.farm import BenchFarm
from farm.bench.fleet.figures.invariants import INVARIANTS, find_broken
from farm.bench.fleet.options import FleetOptions
from farm.bench.fleet.work import draw_jobs
from farm.config import Settings
from farm.db.connection import Database
from farm.embedded.postgres import Postgres
from tests.factories import Scene

SMALL = FleetOptions(devices=20, tasks=300, owners=5, checkpoints=6, load_seconds=0.1, drivers=1, threads=3)


@pytest.fixture
def bench_farm(settings: Settings, database: Database, postgres: Postgres, tmp_path: Path) -> Iterator[BenchFarm]:
    assert postgres.process is not None
    with farm.keep(settings, database, tmp_path, {"PostgreSQL": postgres.process.pid}) as found:
        yield found


@pytest.mark.parametrize("load", [0.0, 0.5])
def test_a_small_fleet_keeps_every_promise(bench_farm: BenchFarm, load: float) -> None:
    options = replace(SMALL, load=load)
    figures = run.run(bench_farm, options, draw_jobs(options), image_seconds=0.02)
    assert (figures.broken, figures.samples.errors, figures.samples.lost) == ({}, [], 0)
    assert figures.samples.published == SMALL.tasks
    lines = "\n".join(report.describe(replace(figures, broken={"no task runs": 3})))
    assert "300 images in" in lines
    assert "BROKEN: no task runs (3)" in lines


def test_the_ceiling_is_measured_in_batches_and_one_by_one(bench_farm: BenchFarm) -> None:
    found = ceiling.measure(bench_farm, SMALL, seconds=1.0, rounds=1)
    assert [each.batch for each in found.alone] == [8, 1]
    assert found.fleet.samples.errors == []
    with bench_farm.database.begin() as session:
        assert "no task runs" not in find_broken(session)


BREAKING = {
    "each task is published exactly once": "DELETE FROM results",
    "no object is without a result": "DELETE FROM results",
    "no task runs": "UPDATE tasks SET status = 'running', worker_id = 1, lease_until = 'infinity'",
    "no attempt is open": "UPDATE attempts SET outcome = 'running', ended_at = NULL",
    "every job is finished": "UPDATE jobs SET status = 'active', finished_at = NULL",
    "the counters equal a count of the tasks": "UPDATE counters SET succeeded = succeeded - 1, failed = failed + 1",
    "every charge is settled": "INSERT INTO shares (pool, owner_id, used_seconds) SELECT 'a', id, 100 FROM users",
    "every delta is folded": "INSERT INTO deltas (job_id, batch_key, succeeded) VALUES (1, 'a', 1)",
}


def test_every_invariant_is_broken_once() -> None:
    assert BREAKING.keys() == INVARIANTS.keys()


@pytest.mark.parametrize("name", BREAKING)
def test_an_invariant_that_is_broken_is_found(scene: Scene, name: str) -> None:
    scene.submit()
    [lease] = scene.claim(scene.worker())
    scene.publish(lease)
    scene.fold()
    with scene.database.begin() as session:
        before = find_broken(session)
    scene.execute(BREAKING[name])
    with scene.database.begin() as session:
        assert name in find_broken(session).keys() - before.keys()
