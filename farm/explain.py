"""Why images of a job are not running, told from counters and workers; the tasks are never counted."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Row, func, select
from sqlalchemy.orm import Session

from farm import exclusions
from farm.errors import NotFound
from farm.lifecycle import JobStatus
from farm.models import Counters, Exclusion, Job, Worker

_MOST_NAMED = 5


@dataclass(frozen=True)
class _Crew:
    """The live workers of a pool, as far as one job is concerned.

    `statuses` counts those that may take the job's images, by status; `absent` holds why others may not.
    """

    live: int
    statuses: Counter[str]
    absent: Sequence[Exclusion]


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
    crew = _crew(session, job.Job)
    held = [*_held(job), *_nobody(job.Job.pool, crew)]
    if held:
        return held
    waiting = [*_line(session, job.Job), *_occupied(crew.statuses)]
    return [*waiting, *_absent(crew.absent)] if waiting else ["A free worker takes it within seconds."]


def _queued(session: Session, job_id: int) -> int:
    query = select(func.coalesce(func.sum(Counters.queued), 0)).where(Counters.job_id == job_id)
    return session.execute(query).scalar_one()


def _crew(session: Session, job: Job) -> _Crew:
    query = select(Worker.name, Worker.status).where(Worker.pool == job.pool, Worker.status != "offline")
    live = session.execute(query).all()
    absent = _exclusions(session, job, {name for name, _ in live})
    away = {exclusion.worker_name for exclusion in absent}
    return _Crew(len(live), Counter(status for name, status in live if name not in away), absent)


def _exclusions(session: Session, job: Job, live: set[str]) -> list[Exclusion]:
    """What keeps live workers from all that is queued of the job: a checkpoint only while somebody else is left."""
    needed = set(
        session.scalars(select(Counters.checkpoint_id).where(Counters.job_id == job.id, Counters.has_queued))
    )
    found = exclusions.in_force(session, list(live))
    out = [exclusion for exclusion in found if exclusion.checkpoint_id is None]
    serving = live - {exclusion.worker_name for exclusion in out}
    avoiding = [x for x in found if x.worker_name in serving and {x.checkpoint_id} == needed]
    return out if serving == {x.worker_name for x in avoiding} else out + avoiding


def _held(row: Row[Job, bool]) -> Iterator[str]:
    job, is_early = row
    if job.status == JobStatus.PAUSED:
        yield "The job is paused."
    if is_early:
        yield f"No image starts before {job.not_before:%Y-%m-%d %H:%M} UTC."


def _nobody(pool: str, crew: _Crew) -> Iterator[str]:
    if not crew.live:
        yield f"No worker serves the pool {pool!r} now. Start one with `farm worker`."
    elif not crew.statuses:
        yield from _absent(crew.absent)


def _absent(found: Sequence[Exclusion]) -> Iterator[str]:
    for exclusion in found[:_MOST_NAMED]:
        yield _away(exclusion)
    if len(found) > _MOST_NAMED:
        yield f"{len(found) - _MOST_NAMED} more are told by `farm workers`."


def _away(exclusion: Exclusion) -> str:
    name, why = exclusion.worker_name, exclusion.reason.rstrip(".")
    if exclusion.checkpoint is None:
        return f"Worker {name} is out of service: {why}. `farm restore {name}` puts it back."
    checkpoint = exclusion.checkpoint.name
    return (
        f"Worker {name} is kept from checkpoint {checkpoint}: {why}. "
        f"`farm restore {name} --checkpoint {checkpoint}` lets it try again."
    )


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
