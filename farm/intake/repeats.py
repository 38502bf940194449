"""Repeats of a request: known by their owner's Idempotency-Key, answered with the job that was accepted first."""

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from farm.db.tables.accounts import User
from farm.db.tables.jobs import Job, Task
from farm.errors import IdempotencyConflict


@dataclass(frozen=True)
class Identity:
    """By what a repeat of a request is recognized.

    `fingerprint` is that of the request as it was sent, before its pictures became uploads. Without an
    `idempotency_key` (None) no request repeats another.
    """

    owner: str
    idempotency_key: str | None
    fingerprint: str


@dataclass(frozen=True)
class AcceptedJob:
    """An accepted job. `is_replay` says that its Idempotency-Key had been accepted before."""

    job_id: int
    images: int
    is_replay: bool
    warnings: tuple[str, ...]


def find_repeat(session: Session, identity: Identity) -> AcceptedJob | None:
    """The job that this owner submitted under this key before; None if there is none, or no key.

    Raises IdempotencyConflict when the key belongs to another request.
    """
    if identity.idempotency_key is None:
        return None
    query = select(Job).join(User)
    query = query.where(User.name == identity.owner, Job.idempotency_key == identity.idempotency_key)
    job = session.scalars(query).one_or_none()
    if job is None:
        return None
    if job.request_sha256 != identity.fingerprint:
        raise IdempotencyConflict
    images = session.execute(select(func.count()).where(Task.job_id == job.id)).scalar_one()
    return AcceptedJob(job.id, images, is_replay=True, warnings=tuple(job.warnings))
