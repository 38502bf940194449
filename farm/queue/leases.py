"""How a worker keeps what it claimed: its tasks are held as long as its own lease runs.

A task that a worker claims has a lease without an end of its own; the worker's lease, in its row, is what ends.
So a heartbeat writes one row, however much the worker holds. Only the database's clock enters a lease. How the
tasks of a lease that ended are taken back stands in `farm.queue.losses`.
"""

from collections.abc import Collection
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, func, literal, select, text, update
from sqlalchemy.orm import Session

from farm.db.tables.jobs import Task
from farm.db.tables.workers import Worker
from farm.queue.claimed import WITH_WORKER, AttemptKey, Held, is_one_of

AnyHeld = TypeVar("AnyHeld", bound=Held)

# Texts, since SQLAlchemy takes longer to put the like together than Postgres to answer: each claim and each
# heartbeat asks them.
_START = text(
    """
    UPDATE workers SET lease_until = now() + make_interval(secs => :seconds)
    WHERE id = :worker_id
      AND (lease_until IS NULL OR lease_until NOT BETWEEN now() + make_interval(secs => :seconds) / 2
                                                  AND now() + make_interval(secs => :seconds))
    """
)
_RUNNING = text("SELECT id, attempt FROM tasks WHERE worker_id = :worker_id AND status = 'running'")


def start(session: Session, worker_id: int, lease_seconds: float) -> None:
    """Make sure that the worker's lease runs, in the transaction that gives it a task.

    Call it before tasks are locked: a worker's row comes before them in the order of locks. Mostly nothing is
    written: heartbeats keep more than half of the lease ahead.
    """
    session.execute(_START, {"worker_id": worker_id, "seconds": lease_seconds})


def renew(session: Session, worker_id: int, held: Collection[AnyHeld], lease_seconds: float) -> set[AnyHeld]:
    """Prolong the worker's lease; return what it still holds of this. The rest was lost or cancelled."""
    session.execute(
        update(Worker)
        .where(Worker.id == worker_id)
        .values(lease_until=end(lease_seconds))
        .execution_options(synchronize_session=False)
    )
    return still_held(held, running(session, worker_id))


def running(session: Session, worker_id: int) -> set[AttemptKey]:
    """What the worker runs by the record, read without a lock.

    What of this it does not hold, for longer than a lease, goes back (`losses.return_overlooked`): the answer to
    the claim's COMMIT was lost, or how its attempt ended could not be recorded. That waits for locks of others, so
    it is done after the renewal is committed.
    """
    rows = session.connection().execute(_RUNNING, {"worker_id": worker_id})
    return {(task_id, attempt) for task_id, attempt in rows}


def still_held(held: Collection[AnyHeld], running: Collection[AttemptKey]) -> set[AnyHeld]:
    """What of this the worker still holds, where it runs so much by the record and its lease was prolonged."""
    return {lease for lease in held if lease.key in running}


def adopt(session: Session, worker_id: int, held: Collection[AnyHeld], lease_seconds: float) -> set[AnyHeld]:
    """Take over attempts of a worker that is gone, whose images this one found; return those that still stood."""
    start(session, worker_id, lease_seconds)
    standing = (
        select(Task.id)
        .where(is_one_of(lease.key for lease in held), Task.status == "running")
        .order_by(Task.id)
        .with_for_update()
        .cte("standing")
    )
    rows = session.execute(
        update(Task)
        .where(Task.id == standing.c.id)
        .values(worker_id=worker_id, lease_until=WITH_WORKER)
        .returning(Task.id, Task.attempt)
        .execution_options(synchronize_session=False)
    )
    keys = {(task_id, attempt) for task_id, attempt in rows}
    return {lease for lease in held if lease.key in keys}


def end(lease_seconds: float) -> ColumnElement[Any]:
    """When a lease that begins now ends, on the database's clock."""
    return func.now() + func.make_interval(0, 0, 0, 0, 0, 0, literal(lease_seconds))
