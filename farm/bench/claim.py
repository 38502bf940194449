"""How fast a worker claims: on an empty farm, and beside much that it must not take or may take.

One client claims in turn from farms that differ in what is queued, each in a database of its own on one server, so
that whatever else the machine does meets all of them alike.
"""

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from sqlalchemy import text
from sqlalchemy.orm import Session

from farm.bench.scratch import scratch_servers
from farm.db.connection import Database, Role
from farm.planner.folding import Folding
from farm.queue import claim
from farm.queue.offers.claimable import is_claimable_sql
from farm.queue.workers import fleet
from farm.queue.workers.fleet import WorkerIdentity
from farm.spec.image import TextToImageSpec

_POOL = "bench"
_LEASE_SECONDS = 600.0
_WARM_UP = 10
_ROUNDS_FOLDED = 10

_INSERT_OWNERS = text("INSERT INTO users (name) SELECT 'owner-' || n FROM generate_series(1, :owners) n")
_INSERT_CHECKPOINT = text(
    "INSERT INTO checkpoints (name, family, sha256, location) VALUES ('bench', 'sd15', repeat('0', 64), '/nowhere')"
)
# Jobs of so many owners in turn; with :keys batch keys, the n-th job has the n-th of them.
_INSERT_JOBS = text(
    f"""
    INSERT INTO jobs (owner_id, name, mode, request, status, priority, pool, request_sha256, not_before)
    SELECT o.id, 'bench-' || n, 'txt2img', '{{}}', 'active', 50, '{_POOL}', '', now() + make_interval(days => :days)
    FROM generate_series(1, :jobs) n
    JOIN (SELECT id, row_number() OVER (ORDER BY id) AS number, count(*) OVER () AS owners
          FROM users WHERE name LIKE 'owner-%') o ON o.number = 1 + n % o.owners
    """
)
_INSERT_GROUPS = text(
    f"""
    INSERT INTO groups (pool, batch_key, checkpoint_id, pixels, pixel_steps, seconds)
    SELECT DISTINCT '{_POOL}', 'key-' || id % :keys, (SELECT id FROM checkpoints), 262144, 5e6, 1 FROM jobs
    ON CONFLICT DO NOTHING
    """
)
_INSERT_TASKS = text(
    """
    INSERT INTO tasks (job_id, seq, status, batch_key, spec, attempt_limit)
    SELECT j.id, n, 'queued', 'key-' || j.id % :keys, CAST(:spec AS jsonb), 3
    FROM jobs j CROSS JOIN generate_series(1, :images) n
    WHERE NOT EXISTS (SELECT FROM counters c WHERE c.job_id = j.id)
    """
)
_INSERT_LINES = text(
    """
    INSERT INTO counters (job_id, batch_key, group_id, owner_id, checkpoint_id, pool, priority, class, not_before,
                          is_open, is_ready, ready_at, pixels, queued)
    SELECT j.id, g.batch_key, g.id, j.owner_id, g.checkpoint_id, j.pool, j.priority, 'bulk', j.not_before,
           true, j.not_before <= now(), j.not_before, g.pixels, :images
    FROM jobs j JOIN groups g ON g.batch_key = 'key-' || j.id % :keys
    WHERE NOT EXISTS (SELECT FROM counters c WHERE c.job_id = j.id)
    """
)
_INSERT_QUEUES = text(
    "INSERT INTO queues (pool, priority, owner_id) "
    "SELECT DISTINCT pool, priority, owner_id FROM counters WHERE is_ready ON CONFLICT DO NOTHING"
)
_PLAN = text(f"INSERT INTO plans (pool) VALUES ('{_POOL}') ON CONFLICT (pool) DO UPDATE SET planned_at = now()")
_SEAT = text(
    f"""
    INSERT INTO seats (worker_id, group_id, owner_id, images, reason)
    SELECT :worker_id, group_id, owner_id, :images, 'bench' FROM counters
    WHERE {is_claimable_sql("counters")} ORDER BY job_id DESC LIMIT 1
    ON CONFLICT (worker_id) DO UPDATE SET group_id = excluded.group_id, owner_id = excluded.owner_id
    """
)
_UNPLAN = text("DELETE FROM plans")


@dataclass(frozen=True)
class Filling:
    """What a farm holds: jobs of so many images each, of so many owners in turn and batch keys; and future jobs."""

    name: str
    owners: int = 1
    jobs: int = 1
    images: int = 10_000
    keys: int = 1
    future_jobs: int = 0


@dataclass(frozen=True)
class ClaimFigures:
    """How long a claim takes on one farm, in seconds; with a seat in a fresh plan, or without."""

    filling: Filling
    has_plan: bool
    p50: float
    p95: float


def list_fillings(tasks: int) -> Sequence[Filling]:
    """The farms that are compared, the empty one first."""
    return (
        Filling("an empty farm, one owner"),
        Filling("beside 100,000 jobs that lie in the future", future_jobs=100_000),
        Filling("1,000 owners wait", owners=1000, jobs=1000, images=40, keys=100),
        Filling(f"{tasks:,} tasks queued", jobs=10, images=tasks // 10, keys=10),
    )


def measure(fillings: Sequence[Filling], *, rounds: int, batch: int) -> Sequence[ClaimFigures]:
    """Claim one batch after another, from each farm in turn, with a plan and without; figures by farm and plan."""
    found: dict[tuple[Filling, bool], list[float]] = {(f, p): [] for f in fillings for p in (False, True)}
    with scratch_servers() as servers, _fill_all(servers.database.url, fillings) as farms:
        for number in range(_WARM_UP + rounds):
            for filling, farm in farms.items():
                if number % _ROUNDS_FOLDED == 0:
                    farm.fold()
                for has_plan in (False, True):
                    seconds = farm.time_claim(batch, has_plan=has_plan)
                    if number >= _WARM_UP:
                        found[filling, has_plan].append(seconds)
    return [
        ClaimFigures(*key, statistics.median(seconds), statistics.quantiles(seconds, n=20)[-1])
        for key, seconds in found.items()
    ]


class _ClaimFarm:
    """One database with a worker that claims."""

    def __init__(self, url: str) -> None:
        self.database = Database(url, Role.WORKER)
        self._folding = Folding(self.database)
        with self.database.begin() as session:
            self._worker_id = fleet.register(session, WorkerIdentity("bench", 1, "cpu", "bench", _POOL))
            fleet.beat(session, self._worker_id, "busy", None)

    def fold(self) -> None:
        """What a leader does each second."""
        self._folding.fold()

    def time_claim(self, batch: int, *, has_plan: bool) -> float:
        """Seconds of one claim, from its BEGIN to its COMMIT; what prepares and undoes it is not timed."""
        with self.database.begin() as session:
            if has_plan:
                session.execute(_PLAN)
                session.execute(_SEAT, {"worker_id": self._worker_id, "images": batch})
            else:
                session.execute(_UNPLAN)
        started = time.perf_counter()
        with self.database.begin() as session:
            claimed = claim.claim(session, self._worker_id, pool=_POOL, limit=batch, lease_seconds=_LEASE_SECONDS)
        seconds = time.perf_counter() - started
        assert claimed is not None, "there is more queued than is claimed"
        return seconds


@contextmanager
def _fill_all(url: str, fillings: Sequence[Filling]) -> Iterator[Mapping[Filling, _ClaimFarm]]:
    """A database for each, copied from the migrated one while nobody is connected to that."""
    farms: dict[Filling, _ClaimFarm] = {}
    try:
        for number, filling in enumerate(fillings):
            copy = url.replace("/farm?", f"/farm{number}?")
            with psycopg.connect(url.replace("/farm?", "/postgres?"), autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE farm{number} TEMPLATE farm")
            _fill(copy, filling)
            farms[filling] = _ClaimFarm(copy)
        yield farms
    finally:
        for farm in farms.values():
            farm.database.close()


def _fill(url: str, filling: Filling) -> None:
    database = Database(url, Role.TOOL)
    with database.begin() as session:
        session.execute(_INSERT_CHECKPOINT)
        session.execute(_INSERT_OWNERS, {"owners": filling.owners})
        _insert_jobs(session, jobs=filling.jobs, images=filling.images, keys=filling.keys, days=0)
        if filling.future_jobs:
            _insert_jobs(session, jobs=filling.future_jobs, images=1, keys=filling.keys, days=1)
        session.execute(_INSERT_QUEUES)
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        # As autovacuum does within a minute of a large submit.
        connection.execute(text("VACUUM ANALYZE"))
    database.close()


def _insert_jobs(session: Session, *, jobs: int, images: int, keys: int, days: int) -> None:
    spec = TextToImageSpec(checkpoint="bench", prompt="a lighthouse", seed=1).model_dump_json()
    session.execute(_INSERT_JOBS, {"jobs": jobs, "days": days})
    session.execute(_INSERT_GROUPS, {"keys": keys})
    session.execute(_INSERT_TASKS, {"keys": keys, "images": images, "spec": spec})
    session.execute(_INSERT_LINES, {"keys": keys, "images": images})
