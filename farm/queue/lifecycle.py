"""The states of jobs and tasks, the arrows between them, and the one statement that moves a task.

A task changes status only through `move`: it locks the rows, checks the arrow's sources, updates,
and keeps the counters and the job's own status in step, in the caller's transaction. If no row
moved, somebody else was first: an ordinary answer, not an error.

Locks are always taken in the order tasks, counters, job, so that no two transitions can deadlock.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Select, TextualSelect, func, select, tuple_, update
from sqlalchemy.orm import Session

from farm.db.events import record
from farm.db.tables.jobs import Counters, Job, Task


class TaskStatus(StrEnum):
    """What may be said of one image.

    queued     waiting for a worker. Put here by submit, by a lost lease, by a repeatable failure, by retry.
    running    claimed: a worker holds a lease on its current attempt.
    succeeded  its one result is published. Final.
    failed     no attempt is left or none would help. Final until a person says retry.
    cancelled  somebody called it off. Final.
    """

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return self in FINAL_TASKS


class JobStatus(StrEnum):
    """What may be said of a whole job.

    active     its tasks decide the rest.
    paused     no task of it is claimed; what is running finishes.
    succeeded  every task succeeded.
    failed     every task is final and some failed.
    cancelled  somebody called it off.
    """

    ACTIVE = "active"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return self in FINAL_JOBS


FINAL_TASKS = frozenset({TaskStatus.SUCCEEDED, TaskStatus.FAILED, TaskStatus.CANCELLED})
FINAL_JOBS = frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED})


@dataclass(frozen=True)
class Arrow:
    """One permitted change of a task's status."""

    name: str
    sources: tuple[TaskStatus, ...]
    target: TaskStatus


CLAIM = Arrow("claim", (TaskStatus.QUEUED,), TaskStatus.RUNNING)
PUBLISH = Arrow("publish", (TaskStatus.RUNNING,), TaskStatus.SUCCEEDED)
FAIL = Arrow("fail", (TaskStatus.RUNNING,), TaskStatus.FAILED)
REQUEUE = Arrow("requeue", (TaskStatus.RUNNING,), TaskStatus.QUEUED)
CANCEL = Arrow("cancel", (TaskStatus.QUEUED, TaskStatus.RUNNING), TaskStatus.CANCELLED)
RETRY = Arrow("retry", (TaskStatus.FAILED,), TaskStatus.QUEUED)

ARROWS = (CLAIM, PUBLISH, FAIL, REQUEUE, CANCEL, RETRY)

JOB_ARROWS: Mapping[JobStatus, frozenset[JobStatus]] = {
    JobStatus.PAUSED: frozenset({JobStatus.ACTIVE}),
    JobStatus.ACTIVE: frozenset({JobStatus.PAUSED, JobStatus.FAILED}),
    JobStatus.CANCELLED: frozenset({JobStatus.ACTIVE, JobStatus.PAUSED}),
    JobStatus.SUCCEEDED: frozenset({JobStatus.ACTIVE, JobStatus.PAUSED}),
    JobStatus.FAILED: frozenset({JobStatus.ACTIVE, JobStatus.PAUSED}),
}
"""Which statuses a job may come from, by the status it goes to."""


@dataclass(frozen=True)
class Moved:
    """One task that changed status."""

    task_id: int
    job_id: int
    batch_key: str
    attempt: int
    source: TaskStatus


def move(
    session: Session,
    arrow: Arrow,
    chosen: Select[int, str] | TextualSelect,
    *,
    reason: str | None = None,
    values: Mapping[str, Any] | None = None,
) -> list[Moved]:
    """Send the chosen tasks along an arrow, bring counters and jobs in step, return those that moved.

    `chosen` comes from `lock` (or locks its rows likewise): it names (id, status) of rows locked
    *before* their status is read, so a row that another transaction is changing is waited for and
    judged by what it became.
    """
    old = chosen.cte("old")
    statement = (
        update(Task)
        .where(Task.id == old.c.id)
        .values({"status": arrow.target, "reason": reason, **(values or {})})
        .returning(Task.id, Task.job_id, Task.batch_key, Task.attempt, old.c.status)
    )
    moved = [
        Moved(task_id, job_id, batch_key, attempt, TaskStatus(source))
        for task_id, job_id, batch_key, attempt, source in session.connection().execute(statement)
    ]
    emptied = _recount(session, arrow.target, moved)
    if arrow.target.is_final:
        for job_id in emptied:
            _finish_if_done(session, job_id, reason)
    return moved


def lock(arrow: Arrow, *conditions: ColumnElement[bool], skip_locked: bool = False) -> Select[int, str]:
    """Choose the tasks that meet the conditions and stand at a source of the arrow, locking them in id order."""
    return (
        select(Task.id, Task.status)
        .where(Task.status.in_(arrow.sources), *conditions)
        .order_by(Task.id)
        .with_for_update(skip_locked=skip_locked, of=Task)
    )


def _recount(session: Session, target: TaskStatus, moved: Iterable[Moved]) -> list[int]:
    """Shift the counters of every (job, batch key) touched; return the jobs that may have become done.

    Rows are updated in key order: two transactions that touch the same jobs cannot deadlock.
    """
    shifts = Counter((m.job_id, m.batch_key, m.source) for m in moved)
    may_be_done = []
    for (job_id, batch_key, source), count in sorted(shifts.items()):
        statement = (
            update(Counters)
            .where(Counters.job_id == job_id, Counters.batch_key == batch_key)
            .values({source: getattr(Counters, source) - count, target: getattr(Counters, target) + count})
            .returning(Counters.queued + Counters.running)
        )
        if session.connection().execute(statement).scalar_one() == 0 and job_id not in may_be_done:
            may_be_done.append(job_id)
    return may_be_done


def lock_counters(session: Session, task_ids: Sequence[int]) -> None:
    """Lock the counters of locked tasks, for a transaction that moves them in more than one step.

    Each step locks its own in order, but two steps after another would not be in order together.
    """
    touched = select(Task.job_id, Task.batch_key).where(Task.id.in_(task_ids))
    held = (
        select(Counters.job_id)
        .where(tuple_(Counters.job_id, Counters.batch_key).in_(touched))
        .order_by(Counters.job_id, Counters.batch_key)
        .with_for_update()
    )
    session.execute(held).all()


def lock_counters_of_job(session: Session, job_id: int) -> None:
    """The same for a caller that changes all counters of a job besides."""
    held = (
        select(Counters.batch_key).where(Counters.job_id == job_id).order_by(Counters.batch_key).with_for_update()
    )
    session.execute(held).all()


def _finish_if_done(session: Session, job_id: int, reason: str | None) -> None:
    """Give the job its final status once no task of it is queued or running.

    The job row is locked first: of two transactions that end the last tasks of two batch keys,
    the second waits here and then sees the first's counters. Events that name the job are let through.
    """
    session.execute(select(Job.id).where(Job.id == job_id).with_for_update(key_share=True))
    left, failed, cancelled = session.execute(
        select(
            func.sum(Counters.queued + Counters.running),
            func.sum(Counters.failed),
            func.sum(Counters.cancelled),
        ).where(Counters.job_id == job_id)
    ).one()
    if left:
        return
    if cancelled:
        move_job(session, job_id, JobStatus.CANCELLED, reason=reason)
    elif failed:
        move_job(session, job_id, JobStatus.FAILED, reason=f"{failed} of its images failed")
    else:
        move_job(session, job_id, JobStatus.SUCCEEDED)


def move_job(session: Session, job_id: int, target: JobStatus, *, reason: str | None = None) -> bool:
    """Give a job its next status if it may have it from where it is; say whether it moved."""
    finished_at = func.now() if target.is_final else None
    statement = (
        update(Job)
        .where(Job.id == job_id, Job.status.in_(JOB_ARROWS[target]))
        .values(status=target, reason=reason, finished_at=finished_at)
        .returning(Job.id)
        .execution_options(synchronize_session=False)
    )
    moved = session.execute(statement).scalar_one_or_none() is not None
    if moved:
        record(session, f"job.{target}", job_id=job_id, reason=reason)
    return moved


def open_to_claims(session: Session, job_id: int) -> None:
    """Let workers claim the job's queued tasks. Call before `move_job`: lock order."""
    update_counters(session, job_id, is_open=True)


def close_to_claims(session: Session, job_id: int) -> None:
    """Keep workers from the job's queued tasks. Call before `move_job`: lock order."""
    update_counters(session, job_id, is_open=False)


def update_counters(session: Session, job_id: int, **values: Any) -> None:
    """Change what the claim reads of a job, locking its counters in the order that `move` does."""
    lock_counters_of_job(session, job_id)
    session.execute(
        update(Counters)
        .where(Counters.job_id == job_id)
        .values(**values)
        .execution_options(synchronize_session=False)
    )
