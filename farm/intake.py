"""The intake: a checked request becomes a job with all its tasks, in one transaction."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import func, insert, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from farm import estimates, fleet, uploads
from farm.config import Settings
from farm.crashpoints import reach
from farm.database import Database
from farm.errors import FieldProblem, IdempotencyConflict, InvalidRequest
from farm.events import record
from farm.expand import Limits, Unfolded, Unfolding, count_images, expand
from farm.library import Library, confirm, pictures_of, read_library
from farm.lifecycle import JobStatus, TaskStatus
from farm.queue import Doorbell
from farm.requests import JobRequest, is_past
from farm.tables.accounts import Project, User
from farm.tables.jobs import Counters, Job, Task

COPY_TASKS = "COPY tasks (job_id, seq, status, batch_key, spec, cell, attempt_limit) FROM STDIN"
LOCAL_USER = "local"


@dataclass(frozen=True)
class Submitted:
    """An accepted job. `is_replay` says that its Idempotency-Key had been accepted before."""

    job_id: int
    images: int
    is_replay: bool
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Preview:
    """What a request would become. `seconds` is None where nothing like it was rendered of late."""

    images: int
    batches: int
    seconds: float | None
    warnings: tuple[str, ...]


def preview(database: Database, settings: Settings, request: JobRequest, *, notes: Sequence[str] = ()) -> Preview:
    """Check and unfold a request, and store nothing more than its pictures, which are uploads already.

    `notes` say how its pictures were read. Raises InvalidRequest with every problem.
    """
    with database.begin() as session:
        library = read_library(session, request)
    unfolding = _unfold(library, request, settings)
    with database.begin() as session:
        serving = fleet.workers_in_service(session, request.pool)
        seconds = estimates.seconds(session, unfolding.groups, max(1, serving))
    return Preview(
        images=unfolding.images,
        batches=len({group.batch_key for group in unfolding.groups}),
        seconds=seconds,
        warnings=(*_warnings_of_pool(request, serving), *notes, *unfolding.warnings),
    )


def submit(
    database: Database,
    settings: Settings,
    doorbell: Doorbell,
    request: JobRequest,
    *,
    owner: str = LOCAL_USER,
    idempotency_key: str | None = None,
    fingerprint: str | None = None,
    notes: Sequence[str] = (),
) -> Submitted:
    """Accept a job: store it with all its tasks in one transaction, then ring.

    Its pictures are uploads already; `fingerprint` is that of the request as it was before they were, and `notes`
    say how they were read.

    1. Read what it may name: checkpoints, addons, pictures, styles, wildcards.
    2. Unfold the prompts into tasks, drawing open seeds; what the farm cannot do is refused.
    3. Insert job, counters and tasks; COMMIT. From here on the job cannot be lost.
    4. Ring, best effort: the keeper rings again if this is lost.

    Raises InvalidRequest with every problem, IdempotencyConflict when the key belongs to another request.
    """
    fingerprint = fingerprint or request.fingerprint
    with database.begin() as session:
        if before := _earlier(session, fingerprint, owner, idempotency_key):
            return before
        library = read_library(session, request)
    # Outside any transaction: this may take seconds, and Postgres ends who holds one open.
    unfolding = _unfold(library, request, settings)
    with database.begin() as session:
        confirm(session, library, (group.template for group in unfolding.groups))
        serving = fleet.workers_in_service(session, request.pool)
        kept = (*notes, *unfolding.warnings)
        warnings = (*_warnings_of_pool(request, serving), *kept)
        job_id = _insert_job(session, request, fingerprint, owner, idempotency_key, kept)
        if job_id is None:
            # A rival with the same key committed since we looked.
            replay = _earlier(session, fingerprint, owner, idempotency_key)
            assert replay is not None, "the rival's row made this insert do nothing"
            return replay
        uploads.need(session, job_id, pictures_of(request))
        _insert_counters(session, job_id, owner, request, unfolding.groups)
        copy_tasks(session, task_rows(job_id, unfolding.groups, settings.max_attempts))
        record(session, "job.submitted", job_id=job_id)
        reach("portal.accepting")
    reach("portal.accepted")
    doorbell.ring(request.pool, times=min(unfolding.images, serving, 16))
    reach("portal.rung")
    return Submitted(job_id, unfolding.images, is_replay=False, warnings=warnings)


def earlier(database: Database, owner: str, idempotency_key: str | None, fingerprint: str) -> Submitted | None:
    """The job this owner submitted under this key before; None if there is none, or no key.

    Who asks before taking in a request's pictures takes in none twice. Raises IdempotencyConflict when the key
    belongs to another request.
    """
    with database.begin() as session:
        return _earlier(session, fingerprint, owner, idempotency_key)


def _unfold(library: Library, request: JobRequest, settings: Settings) -> Unfolding:
    """Unfold what the farm can do; raise InvalidRequest for what it cannot."""
    problems = [*_count_problems(request, settings), *_time_problems(request)]
    limits = Limits(images=settings.max_images_per_job, side=settings.max_side)
    try:
        # What is counted as too many is not unfolded.
        if not any(problem.field == "prompts" for problem in problems):
            unfolding = expand(request, library, limits)
    except InvalidRequest as error:
        problems += error.problems
    if problems:
        raise InvalidRequest(problems)
    return unfolding


def _count_problems(request: JobRequest, settings: Settings) -> Iterator[FieldProblem]:
    images = count_images(request)
    if images > settings.max_images_per_job:
        yield FieldProblem(
            "prompts",
            f"the job would unfold into {images:,} images; the limit is {settings.max_images_per_job:,}. Split it",
        )


def _time_problems(request: JobRequest) -> Iterator[FieldProblem]:
    if is_past(request.deadline, datetime.now(UTC)):
        yield FieldProblem("deadline", "has passed already")
    elif request.not_before and is_past(request.deadline, request.not_before):
        yield FieldProblem("deadline", "must be later than not_before")


def _insert_job(
    session: Session,
    request: JobRequest,
    fingerprint: str,
    owner: str,
    idempotency_key: str | None,
    warnings: Sequence[str],
) -> int | None:
    """Insert the job row and return its id; None where the owner used this key before.

    ON CONFLICT waits for a rival with the same key to commit or roll back: two repeats at the same
    moment make one job.
    """
    statement = (
        upsert(Job)
        .values(
            owner_id=select(User.id).where(User.name == owner).scalar_subquery(),
            project_id=_project_id(session, request.project),
            name=request.title,
            mode=request.mode,
            request=request.model_dump(mode="json", exclude_defaults=True),
            status=JobStatus.ACTIVE,
            priority=request.priority,
            pool=request.pool,
            not_before=request.not_before,
            deadline=request.deadline,
            idempotency_key=idempotency_key,
            request_sha256=fingerprint,
            warnings=list(warnings),
            awaits_grid=bool(request.axes),
        )
        .on_conflict_do_nothing()
        .returning(Job.id)
    )
    return session.execute(statement).scalar_one_or_none()


def _project_id(session: Session, name: str | None) -> int | None:
    if name is None:
        return None
    session.execute(upsert(Project).values(name=name).on_conflict_do_nothing())
    return session.scalars(select(Project.id).where(Project.name == name)).one()


def _earlier(session: Session, fingerprint: str, owner: str, idempotency_key: str | None) -> Submitted | None:
    """The job this owner submitted under this key before; None if there is none, or no key."""
    if idempotency_key is None:
        return None
    job = session.scalars(
        select(Job).join(User).where(User.name == owner, Job.idempotency_key == idempotency_key)
    ).one_or_none()
    if job is None:
        return None
    if job.request_sha256 != fingerprint:
        raise IdempotencyConflict
    images = session.execute(select(func.count()).where(Task.job_id == job.id)).scalar_one()
    return Submitted(job.id, images, is_replay=True, warnings=tuple(job.warnings))


def _insert_counters(
    session: Session, job_id: int, owner: str, request: JobRequest, groups: Sequence[Unfolded]
) -> None:
    images: Counter[str] = Counter()
    for group in groups:
        images[group.batch_key] += len(group.seeds)
    owner_id = session.scalars(select(User.id).where(User.name == owner)).one()
    session.execute(
        insert(Counters),
        [
            {
                "job_id": job_id,
                "batch_key": key,
                "owner_id": owner_id,
                "checkpoint_id": group.checkpoint.id,
                "pool": request.pool,
                "priority": request.priority,
                "not_before": request.not_before,
                "is_open": True,
                "batch_limit": 1 if request.deterministic else None,
                "pixels": math.prod(group.template.heaviest_size),
                "queued": images[key],
                "running": 0,
                "succeeded": 0,
                "failed": 0,
                "cancelled": 0,
            }
            for key, group in {group.batch_key: group for group in groups}.items()
        ],
    )


TaskRow = tuple[int, int, str, str, str, list[int] | None, int]


def task_rows(job_id: int, groups: Iterable[Unfolded], attempt_limit: int) -> Iterator[TaskRow]:
    """The rows of COPY_TASKS, in the order of the groups and their seeds."""
    seq = 0
    for group in groups:
        for repeat, spec in enumerate(group.specs()):
            cell = group.cell.repeated(repeat) if group.cell else None
            yield job_id, seq, TaskStatus.QUEUED, group.batch_key, spec.model_dump_json(), cell, attempt_limit
            seq += 1


def copy_tasks(session: Session, rows: Iterable[TaskRow]) -> None:
    """COPY inside the session's transaction: 23 times as fast as the ORM."""
    connection = session.connection().connection.driver_connection
    assert connection is not None, "the session is bound to a live psycopg connection"
    with connection.cursor() as cursor, cursor.copy(COPY_TASKS) as copy:
        for row in rows:
            copy.write_row(row)


def _warnings_of_pool(request: JobRequest, serving: int) -> tuple[str, ...]:
    if serving:
        return ()
    return (f"No worker serves the pool {request.pool!r} now; the job waits until one does.",)
