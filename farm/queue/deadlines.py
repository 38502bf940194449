"""Jobs past their deadline: which they are, and how what has not started of them is cancelled."""

from collections.abc import Sequence

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from farm.db.tables.jobs import Counters, Job, Task
from farm.queue import lifecycle
from farm.queue.counts.lines import queued_now

# A round must not stand still over one job of a million images; the next one goes on with it.
_MOST_CANCELLED = 10_000


def overdue_jobs(session: Session) -> Sequence[int]:
    """The unfinished jobs past their deadline that still have something queued."""
    return session.scalars(overdue()).all()


def overdue() -> Select[int]:
    """Chooses these jobs."""
    is_queued = Counters.has_queued & (queued_now() > 0)
    has_queued = select(Counters.job_id).where(Counters.job_id == Job.id, is_queued).exists()
    return select(Job.id).where(Job.deadline <= func.now(), Job.finished_at.is_(None), has_queued)


def cancel_queued(session: Session, job_id: int, reason: str) -> None:
    """Cancel what has not started of a job, so much at a time; what is rendering finishes."""
    queued = Task.job_id == job_id, Task.status == "queued"
    chosen = lifecycle.lock(lifecycle.CANCEL, *queued, skip_locked=True).limit(_MOST_CANCELLED)
    lifecycle.move(session, lifecycle.CANCEL, chosen, reason=reason)
