"""Why images of a job are not running: by the plan, and by counters and workers where it says nothing.

Of tasks few are counted, by an index.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Row, func, select
from sqlalchemy.orm import Session

from farm.db.tables.jobs import Counters, Job, Task
from farm.db.tables.weights import Checkpoint
from farm.db.tables.workers import Exclusion, Worker
from farm.dispatch.planned import WaitReason
from farm.errors import NotFound
from farm.queue.counts.lines import queued_now
from farm.queue.states import JobStatus
from farm.queue.workers import capacity
from farm.queue.workers.capacity import Fitness, Need
from farm.queue.workers.fleet import takes_work
from farm.reports.ahead import Count, read_ahead
from farm.reports.expected import JobOutlook, read_outlook

_MOST_NAMED = 5
_MOST_COUNTED = 1_000


@dataclass(frozen=True)
class _Member:
    """A live worker; `trouble` is what keeps it from work though it lives."""

    id: int
    name: str
    status: str
    trouble: str | None
    takes_work: bool


@dataclass(frozen=True)
class _Crew:
    """The live workers of a pool, as far as one job is concerned.

    `statuses` counts those that may take the job's images, by status; `away` says why others may not.
    """

    live: int
    statuses: Counter[str]
    away: Sequence[str]


def explain(session: Session, job_id: int) -> list[str]:
    """The reasons why queued images of the job wait, the weightiest first; none when no image waits.

    Raises NotFound.
    """
    job = session.execute(
        select(Job, (Job.not_before > func.now()).label("is_early")).where(Job.id == job_id)
    ).first()
    if job is None:
        raise NotFound(f"There is no job {job_id}.")
    needs = _needs(session, job_id)
    if not needs:
        return []
    crew = _crew(session, job.Job.pool, needs)
    held = [*_held(job), *_nobody(job.Job.pool, crew)]
    if held:
        return held
    outlook = read_outlook(session, job_id)
    waiting = [
        *_planned(outlook),
        *_line(session, job.Job),
        *_occupied(crew.statuses),
        *_tried_before(session, job_id),
    ]
    return [*waiting, *_named(crew.away)] if waiting else ["A free worker takes it within seconds."]


_PLANNED: Mapping[str, str] = {
    WaitReason.SEATED: "Workers are at it: the rest waits for those ahead of it.",
    WaitReason.RUNS_NEXT: "A worker takes it next.",
    WaitReason.LOADING: "A worker is to load its checkpoint first.",
    WaitReason.BUSY: "Every worker that suits it renders work that goes first.",
    WaitReason.SHARE: "Its owner gets their share of the workers; the others who wait get theirs.",
    WaitReason.COLD: "No worker holds its checkpoint, which is loaded once more images want it, or after a minute.",
    WaitReason.LIMITED: "As many workers are at it as the job allows.",
    WaitReason.UNSUITED: "No worker is known to suit it: all may try.",
}
"""What the plan says of why something waits. Where there is no worker at all, that is said already."""


def _planned(outlook: JobOutlook) -> Iterator[str]:
    """Why the plan lets the job wait."""
    yield from (_PLANNED[reason] for reason in outlook.reasons if reason in _PLANNED)


def _needs(session: Session, job_id: int) -> set[Need]:
    """What the job's queued images ask of a worker, of each checkpoint the least and most. None: none waits."""
    query = (
        select(Counters.checkpoint_id, Checkpoint.family, func.min(Counters.pixels), func.max(Counters.pixels))
        .join(Checkpoint, Checkpoint.id == Counters.checkpoint_id)
        .where(Counters.job_id == job_id, Counters.has_queued, queued_now() > 0)
        .group_by(Counters.checkpoint_id, Checkpoint.family)
    )
    return {
        Need(checkpoint_id, family, pixels)
        for checkpoint_id, family, *bounds in session.execute(query)
        for pixels in bounds
    }


def _crew(session: Session, pool: str, needs: Collection[Need]) -> _Crew:
    query = (
        select(Worker.id, Worker.name, Worker.status, Worker.reason, takes_work())
        .where(Worker.pool == pool, Worker.status != "offline")
        .order_by(Worker.name)
    )
    live = [_Member(*row) for row in session.execute(query)]
    known = capacity.fitness(session)
    out = known.out_of_service
    serving = [member for member in live if member.name not in out]
    takers = _takers(serving, known, needs)
    return _Crew(
        len(live),
        Counter(member.status for member in takers if member.trouble is None),
        [
            *(_troubled(member) for member in serving if member.trouble),
            *(_away(out[member.name]) for member in live if member.name in out),
            *(why for member in serving if member not in takers for why in _unfit(member.name, known, needs)),
        ],
    )


def _takers(serving: Sequence[_Member], known: Fitness, needs: Collection[Need]) -> set[_Member]:
    """Who may take some of it: for each need those that suit it; all where none of these takes work now."""
    takers: set[_Member] = set()
    for need in needs:
        suited = {member for member in serving if known.suits(member.name, need)}
        takers |= suited if any(member.takes_work for member in suited) else set(serving)
    return takers


def _unfit(name: str, known: Fitness, needs: Collection[Need]) -> Iterator[str]:
    """Why a worker leaves all of it to others."""
    for checkpoint_id in sorted({need.checkpoint_id for need in needs}):
        if exclusion := known.avoided.get((name, checkpoint_id)):
            yield _away(exclusion)
    for family in sorted({need.family for need in needs if known.is_too_large(name, need)}):
        why = known.limits[name, family].reason.rstrip(".")
        yield (
            f"Worker {name} leaves {family} images of this size to others: {why}. "
            f"`farm restore {name}` lets it try again."
        )


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
        yield from _named(crew.away)


def _named(away: Sequence[str]) -> Iterator[str]:
    yield from away[:_MOST_NAMED]
    if len(away) > _MOST_NAMED:
        yield f"{len(away) - _MOST_NAMED} more are told by `farm workers`."


def _troubled(member: _Member) -> str:
    return f"Worker {member.name} is in trouble: {member.trouble}"


def _away(exclusion: Exclusion) -> str:
    name, why = exclusion.worker_name, exclusion.reason.rstrip(".")
    if exclusion.checkpoint is None:
        return f"Worker {name} is out of service: {why}. `farm restore {name}` puts it back."
    checkpoint = exclusion.checkpoint.name
    return (
        f"Worker {name} is kept from checkpoint {checkpoint}: {why}. "
        f"`farm restore {name} --checkpoint {checkpoint}` lets it try again."
    )


def _tried_before(session: Session, job_id: int) -> Iterator[str]:
    """What failed on a worker or lost it is left to others first, though that one may be free."""
    tried = select(Task.id).where(Task.job_id == job_id, Task.status == "queued", Task.runs_alone)
    count = session.execute(select(func.count()).select_from(tried.limit(_MOST_COUNTED).subquery())).scalar_one()
    if count:
        number = f"{_MOST_COUNTED:,} images or more" if count == _MOST_COUNTED else _images(count)
        yield f"{number} failed before or lost the worker: each is tried alone, on another worker if there is one."


def _line(session: Session, job: Job) -> Iterator[str]:
    """Who else waits in this pool and goes first, or takes turns with the job."""
    ahead = read_ahead(session, job.id, pool=job.pool, owner_id=job.owner_id, priority=job.priority)
    if ahead.higher.images:
        yield f"{_counted(ahead.higher)} of other jobs with a higher priority {_are(ahead.higher)} ahead."
    if ahead.older.images:
        yield f"{_counted(ahead.older)} of older jobs of the same owner {_are(ahead.older)} ahead."
    if ahead.others.images:
        yield f"{_counted(ahead.others)} of other owners {_are(ahead.others)} waiting too; owners take turns."


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


def _counted(count: Count) -> str:
    return _images(count.images) if count.is_all else f"{count.images:,} images or more"


def _are(count: Count) -> str:
    return "is" if count == Count(1) else "are"
