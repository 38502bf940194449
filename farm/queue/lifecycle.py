"""Moves tasks along the arrows between their states, and keeps counts and jobs in step.

A task changes status only through `move`: it locks the rows, checks the arrow's sources, updates,
and keeps the counts and the job's own status in step, in the caller's transaction. If no row
moved, somebody else was first: an ordinary answer, not an error.

Locks are always taken in this order, here and everywhere else, so that no two transactions can deadlock:

1. the worker's own row, by what gives it a task, takes it away or renews its lease;
2. tasks, in the order of their ids;
3. rows of `counters`, in the order of their keys. A claim takes them only of lines that it empties, a publish
   never: these append deltas (see `farm.queue.counts.lines`);
4. groups, in the order of their keys, and then queues: by what leads claims to lines (`farm.queue.offers`);
5. jobs, in the order of their ids: by what may have ended the last tasks of a job;
6. owners, in the order of their ids, and then their shares, by pool, owner and project: by the fold of deltas, and
   owners by the release before.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Select, TextualSelect, bindparam, func, select, true, tuple_, update
from sqlalchemy.orm import Session

from farm.db.events import record
from farm.db.tables.jobs import Counters, Job, Task
from farm.queue.counts import lines, shifts
from farm.queue.counts.lines import Change, LineKey
from farm.queue.states import (
    CANCEL,
    CLAIM,
    FAIL,
    FINAL_JOBS,
    JOB_ARROWS,
    PUBLISH,
    REQUEUE,
    RETRY,
    Arrow,
    JobStatus,
    TaskStatus,
)

# Who moves tasks names the arrows from here as well.
__all__ = ["CANCEL", "CLAIM", "FAIL", "PUBLISH", "REQUEUE", "RETRY", "Arrow", "JobStatus"]

_FEW = 16
"""So few tasks left of a job that it may be about to end: two full batches.

Publishes of its last images wait for each other's COMMIT. Measured with 8 and 24 publishers that end a job at once:
with 64 a publish took 1.2 to 1.4 times as long at the median. Fewer than 16 gained little, and with 0 a third of
the jobs were left to the fold, which finishes them up to a second later.
"""


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
        shifts.shift(session, _shifts(arrow.target, moved))
        lines.append(session, settled)
    if arrow.target.is_final:
        job_ids = {m.job_id for m in moved}
        finish_what_is_done(session, about_to_end(session, job_ids) if arrow is PUBLISH else job_ids, reason)
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
    taken = _shifts(TaskStatus.RUNNING, moved)
    offers = lines.offers(session, taken.keys())
    emptied = {line: counts for line, counts in taken.items() if offers[line].queued + counts["queued"] <= 0}
    shifts.shift(session, emptied)
    lines.append(
        session,
        [
            Change(line, {} if line in emptied else counts, offers[line].seconds * counts["running"])
            for line, counts in taken.items()
        ],
    )
    return [replace(m, charged_seconds=offers[m.line].seconds) for m in moved]


def _shifts(target: TaskStatus, moved: Iterable[Moved]) -> dict[LineKey, Counter[str]]:
    """By how much the counts of each line change, in the order of the keys."""
    changes: dict[LineKey, Counter[str]] = defaultdict(Counter)
    for m in moved:
        changes[m.line][m.source] -= 1
        changes[m.line][target] += 1
    return dict(sorted(changes.items()))


def _merged(shifted: Mapping[LineKey, Mapping[str, int]], settled: Iterable[Change]) -> Iterator[Change]:
    """One change a line, mostly: its counts, with what was settled of it."""
    counts = dict(shifted)
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


def about_to_end(session: Session, job_ids: Collection[int]) -> list[int]:
    """The jobs of which few tasks are left: a publish locks the rows of no others.

    Where that many end at once that all of them pass by, the fold of their deltas comes here again. What appends
    no counts does not: who moves tasks directly finishes jobs without asking this.
    """
    return [job_id for job_id, left in lines.left_of(session, job_ids).items() if left <= _FEW]


def finish_what_is_done(session: Session, job_ids: Collection[int], reason: str | None = None) -> None:
    """Give jobs their final status of which no task is queued or running.

    Of two transactions that end the last tasks of a job at once each sees the other's still running. So the job's
    row is locked and its tasks are counted then: the second waits there, and then sees what the first did.
    """
    if not job_ids:
        return
    locked = session.scalars(_lock_unfinished(), {"job_ids": list(job_ids)}).all()
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
    """Change what the claim reads of a job, locking its counters in the order that `move` does.

    Raises ValueError for a count: those are changed by `move` alone, which folds what was appended.
    """
    if counts := values.keys() & lines.STATUSES:
        raise ValueError(f"counts change with their tasks alone: {', '.join(sorted(counts))}")
    lock_counters_of_job(session, job_id)
    session.execute(
        update(Counters)
        .where(Counters.job_id == job_id)
        .values(**values)
        .execution_options(synchronize_session=False)
    )
