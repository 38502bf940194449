"""How work changes hands: claim, renew, publish, fail, hand back, expire.

Only the database's clock enters a lease. A claim is one short transaction; nothing is rendered or
uploaded inside one. Whoever finishes a task must still hold its current attempt: that is the fence.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ARRAY, BigInteger, ColumnElement, any_, func, insert, literal, select, text, tuple_, update
from sqlalchemy.orm import Session

from farm import lifecycle
from farm.attempts import end_attempts, open_attempts
from farm.events import record
from farm.models import Artifact, Attempt, Checkpoint, Counters, Job, Result, Task, User
from farm.specs import ImageSpec

QUARANTINED = "quarantined: every worker that tried it died"

# Who is next?
#   line   the first rows of every owner's claimable work, with the owner's share of the GPUs so far
#   head   highest priority; then the owner who had least; then what is resident on this device; then the oldest
#   mates  the head, followed by other jobs with its batch key, to fill the batch
#   fresh  their tasks, up to the worker's part of what is queued, so that a short job spreads over all workers
#   lone   once the head has none of those: a task of it that lost its last worker. It is tried alone, lest it
#          take its batch mates into quarantine
# Owners count as equal within :share_seconds, lest two of them alternate checkpoints image by image.
_NEXT = text(
    """
    WITH line AS (
        SELECT c.*, floor(u.gpu_seconds * exp(-extract(epoch FROM now() - u.gpu_seconds_at) / :decay_seconds)
                          / :share_seconds) AS share
        FROM users u
        CROSS JOIN LATERAL (
            SELECT job_id, batch_key, batch_limit, priority, queued, checkpoint_id FROM counters
            WHERE pool = :pool AND owner_id = u.id AND is_open AND has_queued
              AND (not_before IS NULL OR not_before <= now())
            ORDER BY priority DESC, job_id LIMIT 32
        ) c
    ), head AS (
        SELECT * FROM line
        ORDER BY priority DESC, share, (checkpoint_id = :resident) DESC NULLS LAST, job_id, batch_key LIMIT 1
    ), mates AS (
        SELECT c.job_id, c.batch_key, c.queued FROM head JOIN counters c USING (batch_key)
        WHERE c.pool = :pool AND c.is_open AND c.has_queued AND (c.not_before IS NULL OR c.not_before <= now())
        ORDER BY (c.job_id = head.job_id) DESC, c.priority DESC, c.job_id LIMIT 16
    ), part AS (
        SELECT least(:limit, batch_limit, ceil((SELECT sum(queued) FROM mates)::numeric / greatest(1, (
            SELECT count(*) FROM workers WHERE pool = :pool AND status <> 'offline')))) AS tasks
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

_DECAY_SECONDS = 3600.0
_SHARE_SECONDS = 30.0


@dataclass(frozen=True)
class ClaimedCheckpoint:
    """Which weights a claimed batch needs and where they lie."""

    id: int
    name: str
    family: str
    sha256: str
    location: str


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


@dataclass(frozen=True)
class StoredObject:
    """An object that has been uploaded: what the database must know of it."""

    role: str
    key: str
    sha256: str
    size_bytes: int
    media_type: str
    width: int
    height: int


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
        pool=pool, limit=limit, resident=resident, decay_seconds=_DECAY_SECONDS, share_seconds=_SHARE_SECONDS
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
            )
            .join(Counters, (Counters.job_id == Task.job_id) & (Counters.batch_key == Task.batch_key))
            .join(Checkpoint, Checkpoint.id == Counters.checkpoint_id)
            .where(Task.id == any_(literal(task_ids, ARRAY(BigInteger))))
            .order_by(Task.job_id, Task.seq)
        )
        .all()
    )
    leases = tuple(Lease(row[0], row[1], row[2], ImageSpec.model_validate(row[3])) for row in rows)
    return Batch(ClaimedCheckpoint(*rows[0][4:]), leases)


def renew(session: Session, leases: Sequence[Lease], lease_seconds: float) -> set[Lease]:
    """Prolong leases; return those that still hold. The others were lost or cancelled: stop rendering them."""
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
        .values(lease_until=_lease_end(lease_seconds))
        .returning(Task.id, Task.attempt)
        .execution_options(synchronize_session=False)
    )
    return {keys[row.id, row.attempt] for row in rows}


def publish(
    session: Session,
    lease: Lease,
    image: StoredObject,
    thumbnail: StoredObject,
    *,
    provenance: Mapping[str, Any],
    timings: Mapping[str, float],
    gpu_seconds: float,
) -> bool:
    """Make an uploaded image the task's one result; False if the lease was lost, and then nothing changed.

    1. The fence: the row must still be running this very attempt. It stays locked to the end.
    2. Artifacts and result.
    3. Status, counters and the owner's share last: theirs are the locks that other workers wait for.

    Repeating a publish whose COMMIT answer was lost is harmless: it answers True again.
    """
    if not _holds(session, lease):
        return _published_attempt(session, lease.task_id) == lease.attempt
    image_id, thumbnail_id = _insert_artifacts(session, image, thumbnail)
    session.execute(
        insert(Result).values(
            task_id=lease.task_id,
            attempt=lease.attempt,
            image_id=image_id,
            thumbnail_id=thumbnail_id,
            provenance=dict(provenance),
        )
    )
    moved = lifecycle.move(
        session, lifecycle.PUBLISH, _attempt(lifecycle.PUBLISH, lease), values={"lease_until": None}
    )
    end_attempts(session, moved, "succeeded", gpu_seconds=gpu_seconds, timings=dict(timings))
    _charge_owner(session, lease.job_id, gpu_seconds)
    return True


def _holds(session: Session, lease: Lease) -> bool:
    return session.execute(_attempt(lifecycle.PUBLISH, lease)).first() is not None


def _attempt(arrow: lifecycle.Arrow, lease: Lease) -> Any:
    return lifecycle.lock(arrow, Task.id == lease.task_id, Task.attempt == lease.attempt)


def _published_attempt(session: Session, task_id: int) -> int | None:
    return session.scalars(select(Result.attempt).where(Result.task_id == task_id)).one_or_none()


def _insert_artifacts(session: Session, *objects: StoredObject) -> Sequence[int]:
    statement = insert(Artifact).returning(Artifact.id, sort_by_parameter_order=True)
    return session.scalars(statement, [vars(stored) for stored in objects]).all()


def _charge_owner(session: Session, job_id: int, gpu_seconds: float) -> None:
    """Add GPU-seconds to the owner's share, after letting what was there decay up to now."""
    decay = func.exp(-func.extract("epoch", func.now() - User.gpu_seconds_at) / _DECAY_SECONDS)
    session.execute(
        update(User)
        .where(User.id == select(Job.owner_id).where(Job.id == job_id).scalar_subquery())
        .values(gpu_seconds=User.gpu_seconds * decay + gpu_seconds, gpu_seconds_at=func.now())
        .execution_options(synchronize_session=False)
    )


def fail(session: Session, lease: Lease, error: str, *, is_retryable: bool) -> bool:
    """End an attempt that failed: the task is tried again if that may help, else it is failed.

    Returns whether the task will be tried again. If the lease was lost, nothing changes.
    """
    again = is_retryable and bool(
        _move_running(session, lifecycle.REQUEUE, "failed", error, *_is_attempt(lease), _has_tries_left())
    )
    if not again:
        _move_running(session, lifecycle.FAIL, "failed", error, *_is_attempt(lease))
    return again


def hand_back(session: Session, leases: Sequence[Lease], reason: str) -> None:
    """Return tasks unfinished (a drain, say) without using up one of their tries."""
    _move_running(
        session,
        lifecycle.REQUEUE,
        "handed_back",
        reason,
        tuple_(Task.id, Task.attempt).in_([(lease.task_id, lease.attempt) for lease in leases]),
        attempt_limit=Task.attempt_limit + 1,
    )


def release_dead(session: Session, worker_id: int, error: str) -> int:
    """Take back, at once, all that a worker held that is known to be dead."""
    return _lose(session, error, Task.worker_id == worker_id)


def expire(session: Session, limit: int = 500) -> int:
    """Take back the tasks whose lease has ended; several keepers may do so at once."""
    expired = (
        select(Task.id)
        .where(Task.status == "running", Task.lease_until < func.now())
        .order_by(Task.lease_until)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    task_ids = session.scalars(expired).all()
    return (
        _lose(session, "the lease ended without a word from the worker", Task.id.in_(task_ids)) if task_ids else 0
    )


def _lose(session: Session, error: str, condition: ColumnElement[bool]) -> int:
    """Requeue what has tries left; set aside what has none: it was there each time a worker died.

    All tasks are locked before the first counters are: two moves in one transaction keep the lock order too.
    """
    session.execute(lifecycle.lock(lifecycle.REQUEUE, condition)).all()
    again = _move_running(session, lifecycle.REQUEUE, "lost", error, condition, _has_tries_left(), runs_alone=True)
    dead = _move_running(session, lifecycle.FAIL, "lost", f"{QUARANTINED}; last: {error}", condition)
    return len(again) + len(dead)


def _move_running(
    session: Session,
    arrow: lifecycle.Arrow,
    outcome: str,
    reason: str,
    *conditions: ColumnElement[bool],
    **values: Any,
) -> list[lifecycle.Moved]:
    moved = lifecycle.move(
        session,
        arrow,
        lifecycle.lock(arrow, *conditions),
        reason=reason,
        values={"lease_until": None, **values},
    )
    end_attempts(session, moved, outcome, reason, gpu_seconds=_seconds_since_start())
    for m in moved:
        record(session, f"task.{arrow.name}", job_id=m.job_id, task_id=m.task_id, reason=reason)
    return moved


def _is_attempt(lease: Lease) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return Task.id == lease.task_id, Task.attempt == lease.attempt


def _has_tries_left() -> ColumnElement[bool]:
    return Task.attempt < Task.attempt_limit


def _seconds_since_start() -> ColumnElement[Any]:
    return func.extract("epoch", func.clock_timestamp() - Attempt.started_at)


def _lease_end(lease_seconds: float) -> ColumnElement[Any]:
    return func.now() + func.make_interval(0, 0, 0, 0, 0, 0, literal(lease_seconds))
