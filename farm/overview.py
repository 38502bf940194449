"""What is going on: the queries behind every listing and page, answered as reports."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any

from sqlalchemy import Row, Select, func, select, true
from sqlalchemy.orm import Session

from farm import capacity, exclusions
from farm.errors import NotFound
from farm.fleet import is_in_service
from farm.models import Addon, Attempt, Checkpoint, Counters, Job, Result, Task, User, Worker
from farm.reports import (
    AddonReport,
    AttemptReport,
    CheckpointReport,
    ExclusionReport,
    FarmReport,
    ImageCounts,
    JobReport,
    MemoryLimitReport,
    TaskReport,
    WorkerReport,
)
from farm.weights.blobs import read_files

_MOST_WORKERS = 2_000
_ELSEWHERE = re.compile(r"hf:|civitai:|https?://")


def _job_query() -> Select[Any]:
    """Jobs with their counts, added up for the jobs of the page alone."""
    columns = [getattr(Counters, status) for status in ("queued", "running", "succeeded", "failed", "cancelled")]
    counts = (
        select(func.sum(sum(columns[1:], columns[0])).label("total"), *(func.sum(c).label(c.key) for c in columns))
        .where(Counters.job_id == Job.id)
        .lateral("counts")
    )
    return select(Job, counts).join(counts, true())


def _job_report(row: Row[Any]) -> JobReport:
    job = row.Job
    return JobReport(
        id=job.id,
        name=job.name,
        owner=job.owner.name,
        project=job.project.name if job.project else None,
        mode=job.mode,
        status=job.status,
        reason=job.reason,
        priority=job.priority,
        pool=job.pool,
        not_before=job.not_before,
        deadline=job.deadline,
        created_at=job.created_at,
        finished_at=job.finished_at,
        warnings=job.warnings,
        awaits_grid=job.awaits_grid,
        images=ImageCounts.model_validate(row),
    )


def jobs(
    session: Session,
    *,
    before: int | None = None,
    status: str | None = None,
    owner: str | None = None,
    limit: int = 50,
) -> list[JobReport]:
    """Jobs, newest first; `before` is a job id, for the next page."""
    query = _job_query().order_by(Job.id.desc()).limit(limit)
    if before is not None:
        query = query.where(Job.id < before)
    if status is not None:
        query = query.where(Job.status == status)
    if owner is not None:
        query = query.join(User, User.id == Job.owner_id).where(User.name == owner)
    return [_job_report(row) for row in session.execute(query)]


def job(session: Session, job_id: int) -> JobReport:
    """One job. Raises NotFound."""
    row = session.execute(_job_query().where(Job.id == job_id)).one_or_none()
    if row is None:
        raise NotFound(f"There is no job {job_id}.")
    return _job_report(row)


def tasks(
    session: Session, job_id: int, *, after: int = -1, status: str | None = None, limit: int = 100
) -> list[TaskReport]:
    """The job's tasks by seq; `after` is a seq, for the next page."""
    query = (
        select(Task, Worker.name)
        .outerjoin(Worker, Worker.id == Task.worker_id)
        .where(Task.job_id == job_id, Task.seq > after)
        .order_by(Task.seq)
        .limit(limit)
    )
    if status is not None:
        query = query.where(Task.status == status)
    return [
        TaskReport.model_validate({**_columns(task), "worker": worker}) for task, worker in session.execute(query)
    ]


def _columns(task: Task) -> dict[str, Any]:
    return {name: getattr(task, name) for name in ("id", "job_id", "seq", "status", "reason", "attempt", "spec")}


def results(session: Session, job_id: int, *, after: int = -1, limit: int = 100) -> list[Result]:
    """The job's published images by seq; `after` is a seq, for the next page."""
    query = (
        select(Result)
        .join(Task, Task.id == Result.task_id)
        .where(Task.job_id == job_id, Task.seq > after)
        .order_by(Task.seq)
        .limit(limit)
    )
    return list(session.scalars(query))


def attempts(session: Session, job_id: int, *, limit: int = 200) -> list[AttemptReport]:
    """The job's attempts that did not simply succeed, newest first: the evidence of what went wrong."""
    query = (
        select(Attempt)
        .join(Task, Task.id == Attempt.task_id)
        .where(Task.job_id == job_id, Attempt.outcome.in_(("failed", "lost")))
        .order_by(Attempt.started_at.desc())
        .limit(limit)
    )
    return [_attempt_report(attempt) for attempt in session.scalars(query)]


def _attempt_report(attempt: Attempt) -> AttemptReport:
    names = AttemptReport.model_fields.keys() - {"worker"}
    worker = attempt.worker.name if attempt.worker else None
    return AttemptReport.model_validate({**{name: getattr(attempt, name) for name in names}, "worker": worker})


def workers(session: Session, *, is_live: bool = False) -> list[WorkerReport]:
    """The workers by name, those that are gone (for a day) last."""
    running = (
        select(Task.worker_id, func.count().label("running"))
        .where(Task.status == "running")
        .group_by(Task.worker_id)
        .subquery()
    )
    silent = func.extract("epoch", func.now() - Worker.last_seen_at)
    query = (
        select(Worker, func.coalesce(running.c.running, 0), silent)
        .outerjoin(running, running.c.worker_id == Worker.id)
        .where((Worker.status != "offline") | (silent < 86400 if not is_live else False))
        .order_by(Worker.status == "offline", Worker.name, Worker.id.desc())
        .limit(_MOST_WORKERS)
    )
    found = session.execute(query).all()
    excluded, limits = exclusion_reports(session), _memory_limit_reports(session)
    return [
        _worker_report(
            worker,
            exclusions=excluded[worker.name],
            memory_limits=limits[worker.name],
            running=count,
            silent_seconds=float(seconds),
        )
        for worker, count, seconds in found
    ]


def _worker_report(worker: Worker, **known: Any) -> WorkerReport:
    names = WorkerReport.model_fields.keys() - {"checkpoint", *known}
    return WorkerReport.model_validate(
        {
            **{name: getattr(worker, name) for name in names},
            "checkpoint": worker.checkpoint.name if worker.checkpoint else None,
            **known,
        }
    )


def _memory_limit_reports(session: Session) -> Mapping[str, list[MemoryLimitReport]]:
    """What did not fit into whose memory, by the worker's name."""
    found: dict[str, list[MemoryLimitReport]] = defaultdict(list)
    for (name, family), limit in sorted(capacity.fitness(session).limits.items()):
        report = MemoryLimitReport(family=family, pixels=limit.pixels, reason=limit.reason, since=limit.created_at)
        found[name].append(report)
    return found


def exclusion_reports(session: Session) -> Mapping[str, list[ExclusionReport]]:
    """What each worker is kept from, by its name; nothing for whoever is not excluded."""
    found: dict[str, list[ExclusionReport]] = defaultdict(list)
    for exclusion in exclusions.in_force(session):
        checkpoint = exclusion.checkpoint.name if exclusion.checkpoint else None
        report = ExclusionReport(checkpoint=checkpoint, reason=exclusion.reason, since=exclusion.created_at)
        found[exclusion.worker_name].append(report)
    return found


def checkpoint_reports(checkpoints: Iterable[Checkpoint]) -> list[CheckpointReport]:
    return [_checkpoint_report(checkpoint) for checkpoint in checkpoints]


def _checkpoint_report(checkpoint: Checkpoint) -> CheckpointReport:
    files = read_files(checkpoint.files)
    # Files that are alike lie in the store once.
    sizes = {file.sha256: file.size for file in files} if files is not None else None
    names = CheckpointReport.model_fields.keys() - {"size_bytes"}
    return CheckpointReport.model_validate(
        {
            **{name: getattr(checkpoint, name) for name in names},
            "size_bytes": sum(sizes.values()) if sizes is not None else None,
            "origin": _public_origin(checkpoint.origin),
        }
    )


def addon_reports(addons: Iterable[Addon]) -> list[AddonReport]:
    reports = (AddonReport.model_validate(addon) for addon in addons)
    return [report.model_copy(update={"origin": _public_origin(report.origin)}) for report in reports]


def _public_origin(origin: str | None) -> str | None:
    """A page of a hub or an address as it is; of a file its name, since where it lay concerns its machine alone."""
    if origin is None or _ELSEWHERE.match(origin):
        return origin
    return PurePath(origin).name


def farm(session: Session) -> FarmReport:
    """The farm at a glance, from the counters."""
    queued, running = session.execute(
        select(func.coalesce(func.sum(Counters.queued), 0), func.coalesce(func.sum(Counters.running), 0)).where(
            Counters.has_queued | (Counters.running > 0)
        )
    ).one()
    live, serving, busy = session.execute(
        select(
            func.count().filter(Worker.status != "offline"),
            func.count().filter(is_in_service()),
            func.count().filter(Worker.status == "busy"),
        ).select_from(Worker)
    ).one()
    return FarmReport(
        queued=queued, running=running, workers_live=live, workers_in_service=serving, workers_busy=busy
    )
