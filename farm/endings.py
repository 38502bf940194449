"""How an attempt ends: published, failed, handed back, or lost with its worker.

Whoever ends an attempt must still hold it: every statement here is fenced by the attempt's number,
and does nothing where another attempt owns the task by now.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, func, insert, select, tuple_, update
from sqlalchemy.orm import Session

from farm import lifecycle
from farm.attempts import end_attempts
from farm.dispatch import DECAY_SECONDS, Lease
from farm.events import record
from farm.models import Artifact, Attempt, Job, Result, Task, User

QUARANTINED = "quarantined: it has no try left, and its last worker died"


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
    decay = func.exp(-func.extract("epoch", func.now() - User.gpu_seconds_at) / DECAY_SECONDS)
    session.execute(
        update(User)
        .where(User.id == select(Job.owner_id).where(Job.id == job_id).scalar_subquery())
        .values(gpu_seconds=User.gpu_seconds * decay + gpu_seconds, gpu_seconds_at=func.now())
        .execution_options(synchronize_session=False)
    )


def fail(session: Session, lease: Lease, error: str, *, is_retryable: bool) -> bool:
    """End an attempt that failed: the task is tried again if that may help, else it is failed.

    It is tried again alone, lest it use up the tries of its batch mates. Returns whether it will be
    tried again. If the lease was lost, nothing changes.
    """
    again = is_retryable and bool(
        _move_running(
            session, lifecycle.REQUEUE, "failed", error, *_is_attempt(lease), _has_tries_left(), runs_alone=True
        )
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


def hand_back_all(session: Session, worker_id: int, reason: str) -> None:
    """Return all that a worker held that was stopped on purpose, without using up a try."""
    _move_running(
        session,
        lifecycle.REQUEUE,
        "handed_back",
        reason,
        Task.worker_id == worker_id,
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
