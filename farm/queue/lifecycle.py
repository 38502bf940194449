"""The states of jobs and tasks, the arrows between them, and the one statement that moves a task.

A task changes status only through `move`: it locks the rows, checks the arrow's sources, updates,
and keeps the counts and the job's own status in step, in the caller's transaction. If no row
moved, somebody else was first: an ordinary answer, not an error.

Locks are always taken in this order, so that no two transitions can deadlock:

1. the worker's own row, by what gives it a task or renews its lease;
2. tasks, in the order of their ids;
3. rows of `counters`, in the order of their keys. A claim takes them only of lines that it empties, a publish
   never: these append deltas (see `farm.queue.counts.lines`);
4. jobs, in the order of their ids: by what may have ended the last tasks of a job;
5. owners, in the order of their ids: by the fold of deltas alone, and by the release before.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Select, TextualSelect, bindparam, func, select, true, tuple_, update
from sqlalchemy.orm import Session

from farm.db.events import record
from farm.db.tables.jobs import Counters, Job, Task
from farm.queue.counts import lines
from farm.queue.counts.lines import Change, LineKey

_FEW = 64
"""So few tasks left of a job that it may be about to end."""


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


HOT = (CLAIM, PUBLISH)
"""The arrows that tasks go along all the time: they append their counts, and lock no row that others share."""


@dataclass(frozen=True)
class Moved:
    """One task that changed status. `charged_seconds` is what its owner is charged for it at a claim."""

    task_id: int
    job_id: int
    batch_key: str
    attempt: int
    source: TaskStatus
    charged_seconds: float = 0.0

    @property
    def line(self) -> LineKey:
        return LineKey(self.job_id, self.batch_key)


Settle = Callable[[Sequence[Moved]], Sequence[Change]]
"""Ends the attempts of tasks that moved; returns what their lines are charged for that, and what it measured."""


def move(
    session: Session,
    arrow: Arrow,
    chosen: Select[int, str] | TextualSelect,
    *,
    reason: str | None = None,
    values: Mapping[str, Any] | None = None,
    settle: Settle | None = None,
) -> list[Moved]:
    """Send the chosen tasks along an arrow, bring counts and jobs in step, return those that moved.

    `chosen` comes from `lock` (or locks its rows likewise): it names (id, status) of rows locked
    *before* their status is read, so a row that another transaction is changing is waited for and
    judged by what it became. `settle` is called before the counts are changed, so that what others wait for comes
    last.
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
    if not moved:
        return []
    settled = settle(moved) if settle else ()
    if arrow is CLAIM:
        return _count_claims(session, moved)
    if arrow is PUBLISH:
        lines.append(session, _merged(_shifts(arrow.target, moved), settled))
    else:
        lines.shift(session, _shifts(arrow.target, moved))
        lines.append(session, settled)
    if arrow.target.is_final:
        finish_what_is_done(session, {m.job_id for m in moved}, reason)
    return moved


def lock(arrow: Arrow, *conditions: ColumnElement[bool], skip_locked: bool = False) -> Select[int, str]:
    """Choose the tasks that meet the conditions and stand at a source of the arrow, locking them in id order."""
    return (
        select(Task.id, Task.status)
        .where(Task.status.in_(arrow.sources), *conditions)
        .order_by(Task.id)
        .with_for_update(skip_locked=skip_locked, of=Task)
    )


def _count_claims(session: Session, moved: Sequence[Moved]) -> list[Moved]:
    """Append the counts and the charges of claims, and return them with what each was charged.

    What takes all that a line has left changes the line itself: it leaves the index of what is ready at once.
    """
    shifts = _shifts(TaskStatus.RUNNING, moved)
    offers = lines.offers(session, shifts.keys())
    emptied = {line: counts for line, counts in shifts.items() if offers[line].queued + counts["queued"] <= 0}
    lines.shift(session, emptied)
    lines.append(
        session,
        [
            Change(line, {} if line in emptied else counts, offers[line].seconds * counts["running"])
            for line, counts in shifts.items()
        ],
    )
    return [replace(m, charged_seconds=offers[m.line].seconds) for m in moved]


def _shifts(target: TaskStatus, moved: Iterable[Moved]) -> dict[LineKey, Counter[str]]:
    """By how much the counts of each line change, in the order of the keys."""
    shifts: dict[LineKey, Counter[str]] = defaultdict(Counter)
    for m in moved:
        shifts[m.line][m.source] -= 1
        shifts[m.line][target] += 1
    return dict(sorted(shifts.items()))


def _merged(shifts: Mapping[LineKey, Mapping[str, int]], settled: Iterable[Change]) -> Iterator[Change]:
    """One change a line, mostly: its counts, with what was settled of it."""
    counts = dict(shifts)
    for change in settled:
        yield replace(change, counts=counts.pop(change.line, {}))
    for line, rest in counts.items():
        yield Change(line, rest)


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


def finish_what_is_done(session: Session, job_ids: Collection[int], reason: str | None = None) -> None:
    """Give jobs their final status of which no task is queued or running.

    Of two transactions that end the last tasks of a job at once each sees the other's still running. So where few
    are left the job's row is locked and they are counted again: the second waits there and then sees what the first
    did. Where that many end at once that all of them pass by, the fold of their deltas comes here again.
    """
    few = [job_id for job_id, left in lines.left_of(session, job_ids).items() if left <= _FEW]
    if not few:
        return
    locked = session.scalars(_lock_unfinished(), {"job_ids": few}).all()
    for job_id, failed, cancelled in session.execute(_count_done(), {"job_ids": locked}):
        _finish(session, job_id, failed, cancelled, reason)


@cache
def _lock_unfinished() -> Select[int]:
    """Events that name a job are let through."""
    jobs = select(Job.id).where(_is_one_of_the_jobs(), Job.status.not_in(FINAL_JOBS))
    return jobs.order_by(Job.id).with_for_update(key_share=True)


@cache
def _count_done() -> Select[int, int, int]:
    """The jobs of which nothing is queued or running. Put together once: every publish may ask."""
    counts = lines.counts_of_job()
    query = select(Job.id, counts.c.failed, counts.c.cancelled).join(counts, true())
    return query.where(_is_one_of_the_jobs(), counts.c.queued + counts.c.running == 0).order_by(Job.id)


def _is_one_of_the_jobs() -> ColumnElement[bool]:
    return Job.id.in_(bindparam("job_ids", expanding=True))


def _finish(session: Session, job_id: int, failed: int, cancelled: int, reason: str | None) -> None:
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


def update_counters(session: Session, job_id: int, **values: Any) -> None:
    """Change what the claim reads of a job, locking its counters in the order that `move` does."""
    lock_counters_of_job(session, job_id)
    session.execute(
        update(Counters)
        .where(Counters.job_id == job_id)
        .values(**values)
        .execution_options(synchronize_session=False)
    )
