"""Jobs, their tasks and their attempts, and the farm at a glance: read for listings and pages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, Select, func, literal_column, select, true, union_all
from sqlalchemy.orm import Session

from farm.db.tables.accounts import User
from farm.db.tables.dispatch import Delta
from farm.db.tables.jobs import Attempt, Counters, Job, Task
from farm.db.tables.workers import Worker
from farm.errors import NotFound
from farm.queue.counts import lines
from farm.queue.states import JobStatus
from farm.queue.workers.fleet import is_in_service
from farm.reports.expected import read_outlook
from farm.reports.shapes import AttemptReport, ExpectedReport, FarmReport, ImageCounts, JobReport, TaskReport

_OPEN = (JobStatus.ACTIVE, JobStatus.PAUSED)


def _job_query() -> Select[Any]:
    """Jobs with their counts, added up for the jobs of the page alone, and with what all their lines have."""
    counts = lines.counts_of_job()
    line = select(Counters.class_, Counters.max_devices).where(Counters.job_id == Job.id).limit(1).lateral()
    return select(Job, counts, line).select_from(Job).join(counts, true()).outerjoin(line, true())


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
        class_=row.class_,
        max_devices=row.max_devices,
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
    """One job, and when it is expected to start and end. Raises NotFound."""
    row = session.execute(_job_query().where(Job.id == job_id)).one_or_none()
    if row is None:
        raise NotFound(f"There is no job {job_id}.")
    found = _job_report(row)
    return found if found.is_final else found.model_copy(update={"expected": _expected(session, job_id)})


def _expected(session: Session, job_id: int) -> ExpectedReport | None:
    expected = read_outlook(session, job_id).expected
    return ExpectedReport.model_validate(expected) if expected.says_something else None


@dataclass(frozen=True)
class SweepSummary:
    """What a job sweeps and is styled with, as its request has it."""

    axes: Sequence[Mapping[str, Any]]
    styles: Sequence[str]


def sweep(session: Session, job_id: int) -> SweepSummary:
    """The job's axes and styles, without the rest of its request: that may hold a hundred thousand prompts."""
    query = select(Job.request["axes"], Job.request["styles"]).where(Job.id == job_id)
    axes, styles = session.execute(query).one()
    return SweepSummary(axes or (), styles or ())


def tasks(
    session: Session, job_id: int, *, after: int = -1, status: str | None = None, limit: int = 100
) -> list[TaskReport]:
    """The job's tasks by seq; `after` is a seq, for the next page."""
    query = _task_query(job_id, status).where(Task.seq > after).order_by(Task.seq).limit(limit)
    return [
        TaskReport.model_validate({**_columns(task), "worker": worker}) for task, worker in session.execute(query)
    ]


def _task_query(job_id: int, status: str | None) -> Select[Task, str]:
    query = select(Task, Worker.name).outerjoin(Worker, Worker.id == Task.worker_id).where(Task.job_id == job_id)
    return query if status is None else query.where(Task.status == status)


def _columns(task: Task) -> dict[str, Any]:
    return {name: getattr(task, name) for name in ("id", "job_id", "seq", "status", "reason", "attempt", "spec")}


def attempts(session: Session, job_id: int, *, limit: int = 200) -> list[AttemptReport]:
    """The job's attempts that did not simply succeed, newest first: the evidence of what went wrong."""
    return [_attempt_report(attempt) for attempt in session.scalars(_evidence(job_id).limit(limit))]


def _evidence(job_id: int) -> Select[Attempt]:
    """An index holds the tasks that have such attempts, of a million few."""
    was_tried_in_vain = Task.runs_alone | (Task.status == literal_column("'failed'"))
    query = select(Attempt).join(Task, Task.id == Attempt.task_id).where(Task.job_id == job_id, was_tried_in_vain)
    return query.where(Attempt.outcome.in_(("failed", "lost"))).order_by(Attempt.started_at.desc())


def _attempt_report(attempt: Attempt) -> AttemptReport:
    names = AttemptReport.model_fields.keys() - {"worker"}
    worker = attempt.worker.name if attempt.worker else None
    return AttemptReport.model_validate({**{name: getattr(attempt, name) for name in names}, "worker": worker})


def _open_images() -> Select[Any]:
    """How many images of the farm are queued and running: from the lines and deltas of the jobs that are open."""
    each = union_all(
        *(
            select(table.queued, table.running).join(Job, Job.id == table.job_id).where(Job.status.in_(_OPEN))
            for table in (Counters, Delta)
        )
    ).subquery("each")
    return select(*(func.coalesce(func.sum(column), 0) for column in (each.c.queued, each.c.running)))


def farm(session: Session) -> FarmReport:
    """The farm at a glance, from the counts of lines and from what workers say."""
    queued, running = session.execute(_open_images()).one()
    live, serving, busy = session.execute(_live_workers()).one()
    return FarmReport(
        queued=queued, running=running, workers_live=live, workers_in_service=serving, workers_busy=busy
    )


def _live_workers() -> Select[int, int, int]:
    """How many live, may take work, and are busy. The table also has all that ever were."""
    counts = func.count(), func.count().filter(is_in_service()), func.count().filter(Worker.status == "busy")
    return select(*counts).select_from(Worker).where(Worker.status != "offline")
