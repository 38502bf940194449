"""How an attempt ends: published, failed, or handed back. How one is lost with its worker: `farm.queue.losses`.

A worker that ends an attempt must still hold it: every statement here is fenced by the attempt's number,
and does nothing where another attempt owns the task by now.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, func, insert, select
from sqlalchemy.orm import Session

from farm.db.events import record
from farm.db.tables.artifacts import Artifact, Result
from farm.db.tables.jobs import Attempt, Task
from farm.queue import lifecycle, quarantine, shares
from farm.queue.attempts import end_attempts, storable
from farm.queue.claimed import AttemptKey, Held, Lease, Unreadable, is_one_of
from farm.queue.workers import capacity


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


@dataclass(frozen=True)
class Ending:
    """How attempts ended that brought no image, and the evidence that they leave."""

    outcome: str
    reason: str
    relief: Sequence[str] = ()
    log_tail: str | None = None
    is_excused: bool = False

    @classmethod
    def of(cls, outcome: str, reason: str, *, log_tail: str | None = None, **rest: Any) -> "Ending":
        """An ending in texts that Postgres can hold: a failure that cannot be stored would be taken for a loss."""
        return cls(outcome, storable(reason), log_tail=log_tail and storable(log_tail), **rest)


def publish(
    session: Session,
    lease: Lease,
    image: StoredObject,
    thumbnail: StoredObject,
    *,
    provenance: Mapping[str, Any],
    timings: Mapping[str, float],
    gpu_seconds: float,
    relief: Sequence[str] = (),
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
    end_attempts(
        session,
        moved,
        "succeeded",
        gpu_seconds=gpu_seconds,
        timings=dict(timings),
        relief=_or_none(relief),
    )
    if lease.attempt > 1:
        quarantine.judge_by_success(session, lease.task_id)
    shares.charge(session, lease.job_id, gpu_seconds)
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


def fail(session: Session, held: Held, error: str, *, is_retryable: bool, relief: Sequence[str] = ()) -> bool:
    """End an attempt that failed: the task is tried again if that may help, else it is failed.

    It is tried again alone, so that it cannot use up the tries of its batch mates, and elsewhere if it may
    be. Returns whether it will be tried again. If the lease was lost, nothing changes. `relief` names what
    was done first where memory was short.
    """
    ending = Ending.of("failed", error, relief=relief)
    is_attempt = _is_attempt(held)
    again = is_retryable and move_running(
        session, lifecycle.REQUEUE, ending, *is_attempt, _has_tries_left(), runs_alone=True
    )
    ended = again or move_running(session, lifecycle.FAIL, ending, *is_attempt)
    quarantine.judge(session, ended)
    return bool(again)


def fail_for_memory(session: Session, held: Held, error: str, *, relief: Sequence[str] = ()) -> bool:
    """End an attempt whose image did not fit into the device's memory; say whether it will be tried again.

    That is noted against the device, family and size. While another device may take the image that did not
    try it in vain yet, it costs no try; where none may, it is tried again as after any failure. If the lease
    was lost, nothing changes.
    """
    ending = Ending.of("failed", error, relief=relief, is_excused=True)
    is_attempt = _is_attempt(held)
    if session.execute(lifecycle.lock(lifecycle.REQUEUE, *is_attempt)).first() is None:
        return False
    values: dict[str, Any] = {"runs_alone": True}
    if capacity.is_left_to_others(session, held.task_id):
        values["attempt_limit"] = Task.attempt_limit + 1
        again = move_running(session, lifecycle.REQUEUE, ending, *is_attempt, **values)
    else:
        again = move_running(session, lifecycle.REQUEUE, ending, *is_attempt, _has_tries_left(), **values)
    if not again:
        move_running(session, lifecycle.FAIL, ending, *is_attempt)
    capacity.note_misfit(session, held.task_id, ending.reason)
    return bool(again)


def fail_unreadable(session: Session, held: Unreadable) -> bool:
    """End an attempt whose spec this worker's release cannot read; another worker's may, during an update."""
    ending = Ending.of("failed", held.error, is_excused=True)
    return bool(
        move_running(session, lifecycle.REQUEUE, ending, *_is_attempt(held), _has_tries_left(), runs_alone=True)
        or move_running(session, lifecycle.FAIL, ending, *_is_attempt(held))
    )


def hand_back(session: Session, leases: Sequence[Lease], reason: str) -> None:
    """Return tasks unfinished (a drain, say) without using up one of their tries."""
    move_running(
        session,
        lifecycle.REQUEUE,
        Ending.of("handed_back", reason),
        is_one_of((lease.task_id, lease.attempt) for lease in leases),
        attempt_limit=Task.attempt_limit + 1,
    )


def hand_back_all(session: Session, worker_id: int, reason: str, *, spared: Collection[AttemptKey] = ()) -> None:
    """Return all that a worker held that was stopped on purpose, without using up a try.

    What is `spared` lies rendered on the worker's disk: it stays leased, and is delivered when the
    worker starts again, or expires.
    """
    move_running(
        session,
        lifecycle.REQUEUE,
        Ending.of("handed_back", reason),
        Task.worker_id == worker_id,
        ~is_one_of(spared),
        attempt_limit=Task.attempt_limit + 1,
    )


def move_running(
    session: Session,
    arrow: lifecycle.Arrow,
    ending: Ending,
    *conditions: ColumnElement[bool],
    **values: Any,
) -> list[lifecycle.Moved]:
    """Send running tasks along an arrow, close their attempts with the evidence, and record an event of each."""
    moved = lifecycle.move(
        session,
        arrow,
        lifecycle.lock(arrow, *conditions),
        reason=ending.reason,
        values={"lease_until": None, **values},
    )
    evidence = {
        "relief": _or_none(ending.relief),
        "log_tail": ending.log_tail,
        "is_excused": ending.is_excused,
    }
    end_attempts(session, moved, ending.outcome, ending.reason, gpu_seconds=_seconds_since_start(), **evidence)
    for m in moved:
        record(session, f"task.{arrow.name}", job_id=m.job_id, task_id=m.task_id, reason=ending.reason)
    return moved


def _is_attempt(held: Held) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return Task.id == held.task_id, Task.attempt == held.attempt


def _or_none(relief: Sequence[str]) -> list[str] | None:
    return list(relief) or None


def _has_tries_left() -> ColumnElement[bool]:
    return Task.attempt < Task.attempt_limit


def _seconds_since_start() -> ColumnElement[Any]:
    """Never negative, whatever happened to the database's clock meanwhile."""
    return func.greatest(0, func.extract("epoch", func.clock_timestamp() - Attempt.started_at))
