"""How a worker comes by work: claim a batch, and renew its leases.

Only the database's clock enters a lease. A claim is one short transaction; nothing is rendered or
uploaded inside one. How an attempt ends is told in `farm.endings`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ARRAY, BigInteger, ColumnElement, any_, func, literal, select, text, tuple_, update
from sqlalchemy.orm import Session

from farm import lifecycle
from farm.attempts import open_attempts
from farm.exclusions import AVOIDED_SECONDS
from farm.models import Checkpoint, Counters, Task
from farm.specs import ImageSpec, read_spec
from farm.weights.blobs import StoredFile, read_files

# Who is next?
#   barred what this worker is kept from; from a checkpoint only while another worker can render it. NULL
#          means all work: no checkpoint is known to differ from ALL of a list that holds it
#   line   the first rows of every owner's claimable work, with the owner's share of the GPUs so far
#   head   highest priority; then the owner who had least; then what is resident on this device; then the oldest
#   mates  the head, followed by other jobs with its batch key, to fill the batch
#   fresh  their tasks, up to the worker's part of what is queued, so that a short job spreads over all workers
#   lone   once the head has none of those: a task of it whose last try failed or lost its worker. It is
#          tried alone, lest it harm its batch mates
# Owners count as equal within :share_seconds, lest two of them alternate checkpoints image by image.
_NEXT = text(
    """
    WITH excluded AS (
        SELECT worker_name, checkpoint_id FROM exclusions
        WHERE checkpoint_id IS NULL OR created_at > now() - make_interval(secs => :avoided_seconds)
    ), serving AS (
        SELECT w.name FROM workers w
        WHERE w.pool = :pool AND w.status NOT IN ('offline', 'draining')
          AND NOT EXISTS (SELECT FROM excluded e WHERE e.worker_name = w.name AND e.checkpoint_id IS NULL)
    ), barred AS (
        SELECT e.checkpoint_id FROM excluded e JOIN workers w ON w.name = e.worker_name
        WHERE w.id = :claimant AND (e.checkpoint_id IS NULL OR EXISTS (
            SELECT FROM serving s WHERE NOT EXISTS (
                SELECT FROM excluded x WHERE x.worker_name = s.name AND x.checkpoint_id = e.checkpoint_id)))
    ), line AS (
        SELECT c.*, floor(u.gpu_seconds * exp(-extract(epoch FROM now() - u.gpu_seconds_at) / :decay_seconds)
                          / :share_seconds) AS share
        FROM users u
        CROSS JOIN LATERAL (
            SELECT job_id, batch_key, batch_limit, priority, queued, checkpoint_id FROM counters
            WHERE pool = :pool AND owner_id = u.id AND is_open AND has_queued
              AND (not_before IS NULL OR not_before <= now())
              AND checkpoint_id <> ALL (ARRAY(SELECT checkpoint_id FROM barred))
            ORDER BY priority DESC, job_id LIMIT 32
        ) c
    ), head AS (
        SELECT * FROM line
        ORDER BY priority DESC, share, (checkpoint_id = :resident) DESC NULLS LAST, job_id, batch_key LIMIT 1
    ), mates AS (
        SELECT c.job_id, c.batch_key, c.queued FROM head JOIN counters c USING (batch_key)
        WHERE c.pool = :pool AND c.is_open AND c.has_queued AND (c.not_before IS NULL OR c.not_before <= now())
          AND c.checkpoint_id <> ALL (ARRAY(SELECT checkpoint_id FROM barred))
        ORDER BY (c.job_id = head.job_id) DESC, c.priority DESC, c.job_id LIMIT 16
    ), part AS (
        SELECT least(:limit, batch_limit, ceil((SELECT sum(queued) FROM mates)::numeric
                                             / greatest(1, (SELECT count(*) FROM serving)))) AS tasks
        FROM head
    ), fresh AS (
        SELECT t.* FROM mates CROSS JOIN LATERAL (
            SELECT id, status, job_id FROM tasks
            WHERE job_id = mates.job_id AND batch_key = mates.batch_key AND status = 'queued'
              AND NOT runs_alone
            ORDER BY seq LIMIT :limit FOR UPDATE SKIP LOCKED
        ) t
        LIMIT (SELECT tasks FROM part)
    ), lone AS (
        SELECT id, status FROM tasks
        WHERE job_id = (SELECT job_id FROM head) AND batch_key = (SELECT batch_key FROM head) AND status = 'queued'
          AND runs_alone
          AND NOT EXISTS (SELECT FROM fresh WHERE fresh.job_id = (SELECT job_id FROM head))
        ORDER BY seq LIMIT 1 FOR UPDATE SKIP LOCKED
    )
    SELECT id, status FROM lone
    UNION ALL
    SELECT id, status FROM fresh WHERE NOT EXISTS (SELECT FROM lone)
    """
).columns(Task.id, Task.status)

DECAY_SECONDS = 3600.0
"""How slowly an owner's GPU-seconds fade: to 37 % in an hour."""
_SHARE_SECONDS = 30.0


@dataclass(frozen=True)
class ClaimedCheckpoint:
    """Which weights a claimed batch needs and where they lie: `files` in the store, else a folder at `location`."""

    id: int
    name: str
    family: str
    sha256: str
    location: str
    files: tuple[StoredFile, ...] | None = None

    @property
    def size_bytes(self) -> int:
        """How much of it may have to be fetched."""
        return sum(file.size for file in self.files or ())


@dataclass(frozen=True)
class Lease:
    """A worker's claim on one attempt of one task."""

    task_id: int
    job_id: int
    attempt: int
    spec: ImageSpec

    def log_fields(self) -> dict[str, int]:
        return {"job_id": self.job_id, "task_id": self.task_id, "attempt": self.attempt}


@dataclass(frozen=True)
class Batch:
    """Tasks claimed together, that one pipeline call can render."""

    checkpoint: ClaimedCheckpoint
    leases: tuple[Lease, ...]


def claim(
    session: Session,
    worker_id: int,
    *,
    pool: str,
    limit: int,
    lease_seconds: float,
    resident: int | None = None,
) -> Batch | None:
    """Claim the next batch for a worker: at most `limit` tasks that share a batch key; None if there is none.

    `resident` is the id of the checkpoint loaded on the worker's device, preferred among equals.
    """
    chosen = _NEXT.bindparams(
        pool=pool,
        limit=limit,
        claimant=worker_id,
        resident=resident,
        decay_seconds=DECAY_SECONDS,
        share_seconds=_SHARE_SECONDS,
        avoided_seconds=AVOIDED_SECONDS,
    )
    moved = lifecycle.move(
        session,
        lifecycle.CLAIM,
        chosen,
        values={
            "attempt": Task.attempt + 1,
            "worker_id": worker_id,
            "lease_until": _lease_end(lease_seconds),
        },
    )
    if not moved:
        return None
    open_attempts(session, moved)
    return _batch(session, [m.task_id for m in moved])


def _batch(session: Session, task_ids: Sequence[int]) -> Batch:
    """What a worker must know of the tasks it claimed. They share a batch key, hence a checkpoint."""
    rows = (
        session.connection()
        .execute(
            select(
                *(Task.id, Task.job_id, Task.attempt, Task.spec),
                *(Checkpoint.id, Checkpoint.name, Checkpoint.family, Checkpoint.sha256, Checkpoint.location),
                Checkpoint.files,
            )
            .join(Counters, (Counters.job_id == Task.job_id) & (Counters.batch_key == Task.batch_key))
            .join(Checkpoint, Checkpoint.id == Counters.checkpoint_id)
            .where(Task.id == any_(literal(task_ids, ARRAY(BigInteger))))
            .order_by(Task.job_id, Task.seq)
        )
        .all()
    )
    leases = tuple(Lease(row[0], row[1], row[2], read_spec(row[3])) for row in rows)
    *named, files = rows[0][4:]
    checkpoint = ClaimedCheckpoint(*named)
    return Batch(replace(checkpoint, files=read_files(files)), leases)


def renew(session: Session, worker_id: int, leases: Sequence[Lease], lease_seconds: float) -> set[Lease]:
    """Prolong leases; return those that still hold. The others were lost or cancelled: stop rendering them.

    Whoever renews a lease holds it from then on: a worker that starts again takes over what the process
    before it had rendered and could not deliver.
    """
    keys = {(lease.task_id, lease.attempt): lease for lease in leases}
    held = (
        select(Task.id)
        .where(tuple_(Task.id, Task.attempt).in_(list(keys)), Task.status == "running")
        .order_by(Task.id)
        .with_for_update()
        .cte("held")
    )
    rows = session.execute(
        update(Task)
        .where(Task.id == held.c.id)
        .values(worker_id=worker_id, lease_until=_lease_end(lease_seconds))
        .returning(Task.id, Task.attempt)
        .execution_options(synchronize_session=False)
    )
    return {keys[row.id, row.attempt] for row in rows}


def _lease_end(lease_seconds: float) -> ColumnElement[Any]:
    return func.now() + func.make_interval(0, 0, 0, 0, 0, 0, literal(lease_seconds))
