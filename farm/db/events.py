"""The record of what happened to jobs, written in the transaction that made it happen."""

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from farm.db.tables.jobs import Event


def record(
    session: Session,
    kind: str,
    *,
    job_id: int | None = None,
    task_id: int | None = None,
    reason: str | None = None,
) -> None:
    """Write one event; `kind` is `<noun>.<what happened>`, such as `job.paused`."""
    session.execute(insert(Event).values(kind=kind, job_id=job_id, task_id=task_id, reason=reason))


def of_job(session: Session, job_id: int, *, after: int = 0, limit: int = 100) -> list[Event]:
    """The job's events in the order they were written, those after an event's id."""
    query = select(Event).where(Event.job_id == job_id, Event.id > after).order_by(Event.id).limit(limit)
    return list(session.scalars(query))
