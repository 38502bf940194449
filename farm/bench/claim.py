"""How fast workers claim, with few tasks queued and with a million."""

import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

from sqlalchemy import text
from sqlalchemy.orm import Session

from farm.bench.scratch import scratch_database
from farm.db.connection import Database, Role
from farm.queue import claim, corrections
from farm.queue.workers import fleet
from farm.queue.workers.fleet import WorkerIdentity
from farm.spec.image import TextToImageSpec

_JOBS = 10

_INSERT_JOBS = text(
    """
    INSERT INTO jobs (owner_id, name, mode, request, status, priority, pool, request_sha256)
    SELECT 1, 'bench', 'txt2img', '{}', 'active', 50, 'bench', '' FROM generate_series(1, :jobs)
    """
)
_INSERT_TASKS = text(
    """
    INSERT INTO tasks (job_id, seq, status, batch_key, spec, attempt_limit)
    SELECT j.id, n, 'queued', 'bench-' || j.id, CAST(:spec AS jsonb), 3
    FROM jobs j CROSS JOIN generate_series(0, :each - 1) n
    """
)
_INSERT_COUNTERS = text(
    """
    INSERT INTO counters (job_id, batch_key, owner_id, checkpoint_id, pool, priority, is_open, queued)
    SELECT id, 'bench-' || id, 1, (SELECT id FROM checkpoints), 'bench', 50, true, :each FROM jobs
    """
)


@dataclass(frozen=True)
class ClaimFigures:
    """Throughput in tasks a second over all clients; the 95th percentile of one claim in seconds."""

    queued: int
    clients: int
    batch: int
    tasks_per_second: float
    p95_seconds: float


def measure(queued: int, *, clients: int, batch: int, claims: int) -> ClaimFigures:
    """Let clients, each a process of its own, claim so many batches in all from so many queued tasks."""
    with scratch_database() as (settings, database):
        with database.begin() as session:
            _fill(session, queued)
        _vacuum(database)
        url = settings.required_database_url
        with ProcessPoolExecutor(clients, mp_context=get_context("spawn")) as pool:
            list(pool.map(_warm_up, [url] * clients))
            started = time.perf_counter()
            samples = list(pool.map(_claim_many, [url] * clients, [batch] * clients, [claims // clients] * clients))
            seconds = time.perf_counter() - started
    latencies = [latency for sample in samples for latency in sample]
    return ClaimFigures(
        queued,
        clients,
        batch,
        tasks_per_second=len(latencies) * batch / seconds,
        p95_seconds=statistics.quantiles(latencies, n=20)[-1],
    )


def _fill(session: Session, queued: int) -> None:
    spec = TextToImageSpec(checkpoint="bench", prompt="a lighthouse", seed=1).model_dump_json()
    each = queued // _JOBS
    session.execute(_INSERT_JOBS, {"jobs": _JOBS})
    session.execute(_INSERT_TASKS, {"spec": spec, "each": each})
    session.execute(_INSERT_COUNTERS, {"each": each})
    corrections.adopt_lines(session)


def _vacuum(database: Database) -> None:
    """Do what autovacuum does within a minute of a large submit."""
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))


def _warm_up(url: str) -> None:
    """Start the process and import everything before the clock runs."""
    with Database(url, Role.WORKER).begin() as session:
        session.execute(text("SELECT pg_sleep(0.3)"))


def _claim_many(url: str, batch: int, claims: int) -> list[float]:
    """Claim batches one after another as a worker would; return how long each took, in seconds."""
    database = Database(url, Role.WORKER)
    with database.begin() as session:
        worker_id = fleet.register(session, WorkerIdentity("bench", 1, "cpu", "bench", "bench"))
    latencies = []
    for _ in range(claims):
        started = time.perf_counter()
        with database.begin() as session:
            claimed = claim.claim(session, worker_id, pool="bench", limit=batch, lease_seconds=600)
        if claimed is not None and len(claimed.leases) == batch:
            latencies.append(time.perf_counter() - started)
    database.close()
    return latencies
