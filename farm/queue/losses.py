"""How attempts are lost: with a worker that is known to be dead, or with a lease that nobody renewed.

A loss uses up none of a task's tries: a worker may die of anything. A task that loses too many is set aside.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import ColumnElement, Select, and_, func, or_, select, true
from sqlalchemy.orm import InstrumentedAttribute, Session

from farm.config import LONGEST_LEASE_SECONDS
from farm.db.tables.jobs import Attempt, Task
from farm.db.tables.workers import Worker
from farm.queue import lifecycle, quarantine
from farm.queue.attempts import EXPIRED
from farm.queue.claimed import WITH_WORKER, AttemptKey, is_one_of
from farm.queue.endings import Ending, move_running

OVERLOOKED = "handed back: its worker runs on without it"
QUARANTINED = "quarantined: its workers died again and again"

_MOST_LOSSES = 6
"""How often a task may lose its worker. More than its tries: a worker may die of anything."""
_WORKERS_LOST = 2
"""How many workers, by name, it must have lost by then, if so many were there to lose."""
_LOSSES_OF_ONE_WORKER = 8
"""How often it may lose the same worker, where no other one took it."""


def release_dead(
    session: Session,
    worker_id: int,
    error: str,
    *,
    log_tail: str | None = None,
    spared: Collection[AttemptKey] = (),
) -> int:
    """Take back, at once, all that a worker held that is known to be dead; keep its last words as evidence.

    What is `spared` lies rendered on the worker's disk: it stays leased, as in `hand_back_all`.
    """
    ending = Ending.of("lost", error, log_tail=log_tail)
    lost = _lose(session, ending, (Task.worker_id == worker_id) & ~is_one_of(spared))
    quarantine.judge(session, lost)
    return len(lost)


def return_overlooked(session: Session, worker_id: int, keys: Collection[AttemptKey], lease_seconds: float) -> None:
    """Take back attempts that a living worker does not hold, though the record says so, for longer than a lease.

    It never got them, or could not record how they ended. That counts as a loss of the task, for a task whose
    end cannot be recorded would come back for ever; but it is no evidence against the worker. What others lock is
    left for another time: they may be ending it.
    """
    if not keys:
        return
    lease = func.make_interval(0, 0, 0, 0, 0, 0, lease_seconds)
    # Beyond a lease in either direction: the clock may have been set back since.
    is_recent = Attempt.started_at.between(func.now() - lease, func.now() + lease)
    is_old = select(Attempt.task_id).where(Attempt.task_id == Task.id, Attempt.number == Task.attempt, ~is_recent)
    _lose(
        session,
        Ending.of("handed_back", OVERLOOKED),
        (Task.worker_id == worker_id) & is_one_of(keys) & is_old.exists(),
        skip_locked=True,
    )


def expire(session: Session, limit: int = 500, *, task_id: int | None = None) -> int:
    """Take back the tasks whose lease has ended, or this one; several keepers may do so at once.

    Nobody is judged by that now: whether the worker is simply gone will show.
    """
    chosen = expiring(limit) if task_id is None else expiring(limit).where(Task.id == task_id)
    task_ids = session.scalars(chosen.with_for_update(skip_locked=True, of=Task)).all()
    return len(_lose(session, Ending.of("lost", EXPIRED), Task.id.in_(task_ids))) if task_ids else 0


def expired(session: Session, limit: int = 500) -> Sequence[int]:
    """The tasks whose lease has ended."""
    return session.scalars(expiring(limit)).all()


def expiring(limit: int = 500) -> Select[int]:
    """Chooses the tasks whose lease has ended."""
    return select(Task.id).where(_has_expired()).order_by(Task.lease_until).limit(limit)


def _has_expired() -> ColumnElement[bool]:
    """What runs without a lease: its own, which the release before gives it, or its worker's.

    All that runs is looked through, by an index of it, against the few workers whose leases run.
    """
    live = _live_workers()
    is_held_by_worker = (Task.lease_until == WITH_WORKER) & Task.worker_id.in_(live)
    return (Task.status == "running") & ~func.coalesce(is_held_by_worker | _is_lease(Task.lease_until), False)


def _live_workers() -> Select[int]:
    """The workers that have something, and whose leases run: each is looked up by its id.

    The table also has all that ever were, and an index on what each heartbeat changes would be written by each.
    """
    busy = select(Task.worker_id).where(Task.status == "running").distinct().subquery("busy")
    # OFFSET 0 keeps Postgres from reading the whole table instead.
    of_id = select(Worker.id, Worker.lease_until).where(Worker.id == busy.c.worker_id).offset(0).lateral("of_id")
    return select(of_id.c.id).select_from(busy.join(of_id, true())).where(_is_lease(of_id.c.lease_until))


def _is_lease(
    until: ColumnElement[datetime | None] | InstrumentedAttribute[datetime | None],
) -> ColumnElement[bool]:
    """Whether a lease runs. What stands longer than any lease does not: the database's clock was set back, and
    nobody renewed it since."""
    too_long = func.now() + func.make_interval(0, 0, 0, 0, 0, 0, 2 * LONGEST_LEASE_SECONDS)
    return until.between(func.now(), too_long)


def _lose(
    session: Session, ending: Ending, condition: ColumnElement[bool], *, skip_locked: bool = False
) -> list[lifecycle.Moved]:
    """Requeue what lost its worker, which costs none of its tries; set aside what lost too many.

    Locks are taken in their order for both moves together: all tasks, then all their counters.
    """
    chosen = lifecycle.lock(lifecycle.REQUEUE, condition, skip_locked=skip_locked)
    task_ids = [row.id for row in session.execute(chosen)]
    if not task_ids:
        return []
    lifecycle.lock_counters(session, task_ids)
    deadly = _deadly(session, task_ids)
    again = move_running(
        session,
        lifecycle.REQUEUE,
        ending,
        Task.id.in_(task_ids),
        Task.id.not_in(deadly),
        runs_alone=True,
        losses=Task.losses + 1,
        attempt_limit=Task.attempt_limit + 1,
    )
    quarantined = replace(ending, reason=f"{QUARANTINED}; last: {ending.reason}")
    dead = move_running(session, lifecycle.FAIL, quarantined, Task.id.in_(deadly), losses=Task.losses + 1)
    return [*again, *dead]


def _deadly(session: Session, task_ids: Sequence[int]) -> list[int]:
    """Those of the tasks, each about to lose one worker more, that are to be set aside.

    One worker that keeps dying loses whatever it claims, and says little of its tasks: losses are weighed by
    how many workers they hit. On a farm where no other worker takes them, more are waited for.
    """
    workers = (
        select(func.count(func.distinct(Worker.name)))
        .select_from(Attempt)
        .join(Worker, Worker.id == Attempt.worker_id)
        .where(Attempt.task_id == Task.id, Attempt.outcome.in_(("lost", "running")))
        .correlate(Task)
        .scalar_subquery()
    )
    losses = Task.losses + 1
    query = select(Task.id).where(
        Task.id.in_(task_ids),
        or_(and_(losses >= _MOST_LOSSES, workers >= _WORKERS_LOST), losses >= _LOSSES_OF_ONE_WORKER),
    )
    return list(session.scalars(query))
