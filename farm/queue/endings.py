"""How an attempt ends: published, failed, or handed back. How one is lost with its worker: `farm.queue.losses`.

A worker that ends an attempt must still hold it: every statement here is fenced by the attempt's number,
and does nothing where another attempt owns the task by now.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement
from sqlalchemy.orm import Session

from farm.db.events import record
from farm.db.tables.jobs import Task
from farm.queue import lifecycle, quarantine, results
from farm.queue.attempts import end_attempts, storable
from farm.queue.claimed import AttemptKey, Held, Lease, Unreadable, is_one_of
from farm.queue.counts.lines import Change
from farm.queue.results import Finished, StoredObject
from farm.queue.workers import capacity


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


@dataclass(frozen=True)
class Published:
    """What became of images: `published`, now or before, or `left`, since others lock their tasks. The rest is
    refused: another attempt owns the task."""

    published: set[AttemptKey]
    left: set[AttemptKey]


def publish_all(session: Session, finished: Sequence[Finished]) -> Published:
    """Make uploaded images the results of their tasks, but for those whose tasks others lock at the moment.

    1. The fence, an image each: its task must still be running this very attempt. It stays locked to the end.
       What others lock is left for another time: a cancel of a giant job would hold up images of all jobs.
    2. Artifacts, results and attempts.
    3. Counts and charges are appended; of a job of which few images are left the row is locked, last.

    An image whose lease was lost changes nothing and keeps no other from being published. Repeating a publish
    whose COMMIT answer was lost is harmless: its attempts are returned again.
    """
    of_attempt = {one.lease.key: one for one in finished}
    moved = lifecycle.move(
        session,
        lifecycle.PUBLISH,
        lifecycle.lock(lifecycle.PUBLISH, is_one_of(of_attempt), skip_locked=True),
        values={"lease_until": None},
        settle=partial(_store, session, of_attempt),
    )
    quarantine.judge_by_success(session, [m.task_id for m in moved if m.attempt > 1])
    now = {(m.task_id, m.attempt) for m in moved}
    if not (rest := of_attempt.keys() - now):
        return Published(now, set())
    # In this order: what others publish between the two looks is taken for left, not for refused.
    left = results.running(session, rest)
    before = results.published(session, [task_id for task_id, _ in rest - left])
    return Published(now | rest & before, left)


def _store(
    session: Session, of_attempt: Mapping[AttemptKey, Finished], moved: Sequence[lifecycle.Moved]
) -> Sequence[Change]:
    results.store(session, [of_attempt[m.task_id, m.attempt] for m in moved])
    return results.end(session, moved, of_attempt)


def publish(
    session: Session,
    lease: Held,
    image: StoredObject,
    thumbnail: StoredObject,
    *,
    provenance: Mapping[str, Any],
    timings: Mapping[str, float],
    gpu_seconds: float,
    relief: Sequence[str] = (),
) -> bool:
    """Publish one image by itself; False if the lease was lost or others lock the task: then nothing changed."""
    finished = Finished(lease, image, thumbnail, provenance, timings, gpu_seconds, relief)
    return lease.key in publish_all(session, [finished]).published


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
    end_attempts(session, moved, ending.outcome, ending.reason, **evidence)
    for m in moved:
        record(session, f"task.{arrow.name}", job_id=m.job_id, task_id=m.task_id, reason=ending.reason)
    return moved


def _is_attempt(held: Held) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return Task.id == held.task_id, Task.attempt == held.attempt


def _or_none(relief: Sequence[str]) -> list[str] | None:
    return list(relief) or None


def _has_tries_left() -> ColumnElement[bool]:
    return Task.attempt < Task.attempt_limit
