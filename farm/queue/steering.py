"""What people do with an accepted job: cancel, pause, resume, retry, change its priority."""

from collections.abc import Callable
from typing import NoReturn

from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from farm.config import Settings
from farm.crashpoints import reach
from farm.db.connection import Database
from farm.db.events import record
from farm.db.tables.jobs import Counters, Job, Task, line_counts
from farm.errors import Conflict, NotFound
from farm.queue import lifecycle
from farm.queue.attempts import end_attempts, excuse_attempts
from farm.queue.doorbell import Doorbell
from farm.queue.lifecycle import JobStatus
from farm.queue.offers import readiness

_MANY = 2_000
"""So many images of a job take longer to change than a claim or two."""

_LONGEST_SECONDS = 110


def cancel(database: Database, job_id: int, reason: str = "cancelled by hand") -> None:
    """Call off every task that is not final; what is rendering stops at its next step."""
    _withhold_many(database, job_id, lifecycle.CANCEL)
    with database.begin() as session:
        _require(session, job_id)
        _allow_for_a_million(session)
        chosen = lifecycle.lock(lifecycle.CANCEL, Task.job_id == job_id)
        moved = lifecycle.move(session, lifecycle.CANCEL, chosen, reason=reason, values={"lease_until": None})
        end_attempts(session, moved, "cancelled", reason)
        if not moved:
            _refuse(session, job_id, "cancelled")
        reach("portal.cancelling")


def pause(database: Database, job_id: int) -> None:
    """Let no further task of the job be claimed; what is rendering finishes."""
    _steer(database, job_id, JobStatus.PAUSED, "paused", readiness.close_lines)


def resume(database: Database, doorbell: Doorbell, job_id: int) -> None:
    """Let a paused job go on."""
    pool = _steer(database, job_id, JobStatus.ACTIVE, "resumed", readiness.open_lines)
    doorbell.ring(pool)


def _steer(
    database: Database, job_id: int, target: JobStatus, wish: str, change_counters: Callable[[Session, int], None]
) -> str:
    """Give the job its status, after a change of its counters; return its pool."""
    with database.begin() as session:
        job = _require(session, job_id)
        if JobStatus(job.status).is_final:
            _refuse(session, job_id, wish)
        change_counters(session, job_id)
        if not lifecycle.move_job(session, job_id, target):
            _refuse(session, job_id, wish)
        return job.pool


def retry(database: Database, settings: Settings, doorbell: Doorbell, job_id: int) -> int:
    """Queue the job's failed tasks again with fresh tries; return how many. A paused job goes on."""
    _withhold_many(database, job_id, lifecycle.RETRY)
    with database.begin() as session:
        job = _require(session, job_id)
        _allow_for_a_million(session)
        chosen = lifecycle.lock(lifecycle.RETRY, Task.job_id == job_id)
        session.execute(chosen).all()
        # The move locks some of the job's counters and the opening all of them: in one order, so all at once.
        lifecycle.lock_counters_of_job(session, job_id)
        moved = lifecycle.move(
            session,
            lifecycle.RETRY,
            chosen,
            reason="retried by hand",
            values={"attempt_limit": Task.attempt + settings.max_attempts, "losses": 0},
        )
        if not moved:
            raise Conflict(f"Job {job_id} has no failed images to retry.")
        excuse_attempts(session, [m.task_id for m in moved])
        # Withheld lines wait for the time of the job alone again.
        lifecycle.update_counters(session, job_id, not_before=job.not_before)
        readiness.open_lines(session, job_id)
        # A publish locks no counters: one that ends the job now does so before, or sees what is queued again.
        session.execute(select(Job.id).where(Job.id == job_id).with_for_update(key_share=True))
        if not lifecycle.move_job(session, job_id, JobStatus.ACTIVE, reason="retried by hand"):
            _require_active(session, job_id, "retried")
        # The grids of a sweep are drawn again when it has ended again.
        session.execute(update(Job).where(Job.id == job_id).values(awaits_grid=Job.request.has_key("axes")))
        pool = job.pool
    reach("portal.retried")
    doorbell.ring(pool)
    return len(moved)


def set_priority(database: Database, job_id: int, priority: int) -> None:
    """Move the job up or down; tasks that are running are not touched."""
    with database.begin() as session:
        job = _require(session, job_id)
        if JobStatus(job.status).is_final:
            _refuse(session, job_id, "given a priority")
        readiness.set_priority_of_lines(session, job_id, priority)
        session.execute(update(Job).where(Job.id == job_id).values(priority=priority))
        record(session, "job.priority", job_id=job_id, reason=f"priority {priority}")


def _withhold_many(database: Database, job_id: int, arrow: lifecycle.Arrow) -> None:
    """Keep workers from a job of which many images are about to move, in a transaction before that.

    All these tasks are locked then, or not there yet for others: each claim would look through them, whatever work
    it finds at last. Should the change fail, the keeper makes the lines ready again after the longest time that it
    may take.
    """
    with database.begin() as session:
        about_to_move = func.sum(sum(line_counts.c[source] for source in arrow.sources))
        many = session.scalar(select(about_to_move >= _MANY).where(line_counts.c.job_id == job_id))
        if many:
            until = func.now() + func.make_interval(0, 0, 0, 0, 0, 0, _LONGEST_SECONDS)
            not_before = func.greatest(Counters.not_before, until)
            lifecycle.update_counters(session, job_id, is_ready=False, not_before=not_before)


def _allow_for_a_million(session: Session) -> None:
    """A job may have a million images; 100,000 take 7 s to cancel on two cores."""
    session.execute(text(f"SET LOCAL statement_timeout = '{_LONGEST_SECONDS}s'"))


def _require(session: Session, job_id: int) -> Job:
    job = session.get(Job, job_id)
    if job is None:
        raise NotFound(f"There is no job {job_id}.")
    return job


def _require_active(session: Session, job_id: int, wish: str) -> None:
    if session.scalars(select(Job.status).where(Job.id == job_id)).one() != JobStatus.ACTIVE:
        _refuse(session, job_id, wish)


def _refuse(session: Session, job_id: int, wish: str) -> NoReturn:
    status = session.scalars(select(Job.status).where(Job.id == job_id)).one()
    raise Conflict(f"Job {job_id} is {status}; it cannot be {wish}.")
