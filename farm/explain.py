"""Why images of a job are not running, told from counters and workers; the tasks are never counted."""

from collections import Counter
from collections.abc import Iterator

from sqlalchemy import Row, func, select
from sqlalchemy.orm import Session

from farm.errors import NotFound
from farm.lifecycle import JobStatus
from farm.models import Counters, Job, Worker


def explain(session: Session, job_id: int) -> list[str]:
    """The reasons why queued images of the job wait, the weightiest first; none when no image waits.

    Raises NotFound.
    """
    job = session.execute(
        select(Job, (Job.not_before > func.now()).label("is_early")).where(Job.id == job_id)
    ).first()
    if job is None:
        raise NotFound(f"There is no job {job_id}.")
    if not _queued(session, job_id):
        return []
    workers = _workers(session, job.Job.pool)
    held = [*_held(job), *_nobody(job.Job.pool, workers)]
    if held:
        return held
    waiting = [*_line(session, job.Job), *_occupied(workers)]
    return waiting or ["A free worker takes it within seconds."]


def _queued(session: Session, job_id: int) -> int:
    query = select(func.coalesce(func.sum(Counters.queued), 0)).where(Counters.job_id == job_id)
    return session.execute(query).scalar_one()


def _workers(session: Session, pool: str) -> Counter[str]:
    """How many live workers of the pool stand at each status."""
    query = (
        select(Worker.status, func.count())
        .where(Worker.pool == pool, Worker.status != "offline")
        .group_by(Worker.status)
    )
    return Counter(dict(session.execute(query).all()))


def _held(row: Row[Job, bool]) -> Iterator[str]:
    job, is_early = row
    if job.status == JobStatus.PAUSED:
        yield "The job is paused."
    if is_early:
        yield f"No image starts before {job.not_before:%Y-%m-%d %H:%M} UTC."


def _nobody(pool: str, workers: Counter[str]) -> Iterator[str]:
    if not workers:
        yield f"No worker serves the pool {pool!r} now. Start one with `farm worker`."


def _line(session: Session, job: Job) -> Iterator[str]:
    """Who else waits in this pool and goes first, or takes turns with the job."""
    is_higher = Counters.priority > job.priority
    is_equal = Counters.priority == job.priority
    is_own = Counters.owner_id == job.owner_id
    query = select(
        func.sum(Counters.queued).filter(is_higher),
        func.sum(Counters.queued).filter(is_equal, is_own, Counters.job_id < job.id),
        func.sum(Counters.queued).filter(is_equal, ~is_own),
    ).where(
        Counters.pool == job.pool,
        Counters.is_open,
        Counters.has_queued,
        Counters.not_before.is_(None) | (Counters.not_before <= func.now()),
        Counters.job_id != job.id,
    )
    higher, older, others = session.execute(query).one()
    if higher:
        yield f"{_images(higher)} of other jobs with a higher priority {_are(higher)} ahead."
    if older:
        yield f"{_images(older)} of older jobs of the same owner {_are(older)} ahead."
    if others:
        yield f"{_images(others)} of other owners {_are(others)} waiting too; owners take turns."


def _occupied(workers: Counter[str]) -> Iterator[str]:
    live = workers.total()
    if workers["busy"] == live:
        yield f"All workers are busy ({live} of {live})."
    elif not workers["idle"]:
        yield (
            "No worker is free: "
            + ", ".join(f"{count} {status}" for status, count in sorted(workers.items()))
            + "."
        )


def _images(count: int) -> str:
    return f"{count:,} image{'' if count == 1 else 's'}"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"
