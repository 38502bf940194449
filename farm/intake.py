"""The intake: a checked request becomes a job with all its tasks, in one transaction."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import func, insert, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from farm import catalog, fleet
from farm.config import Settings
from farm.crashpoints import reach
from farm.database import Database
from farm.errors import FieldProblem, IdempotencyConflict, InvalidRequest
from farm.events import record
from farm.expand import Unfolded, count_images, expand
from farm.lifecycle import JobStatus, TaskStatus
from farm.models import Checkpoint, Counters, Job, Project, Task, User
from farm.queue import Doorbell
from farm.specs import JobRequest, is_past

COPY_TASKS = "COPY tasks (job_id, seq, status, batch_key, spec, attempt_limit) FROM STDIN"
LOCAL_USER = "local"


@dataclass(frozen=True)
class Submitted:
    """An accepted job. `is_replay` says that its Idempotency-Key had been accepted before."""

    job_id: int
    images: int
    is_replay: bool
    warnings: tuple[str, ...]


def submit(
    database: Database,
    settings: Settings,
    doorbell: Doorbell,
    request: JobRequest,
    *,
    owner: str = LOCAL_USER,
    idempotency_key: str | None = None,
) -> Submitted:
    """Accept a job: store it with all its tasks in one transaction, then ring.

    1. Check what only the farm can know: checkpoints, limits, times.
    2. Unfold the prompts into tasks, drawing open seeds.
    3. Insert job, counters and tasks; COMMIT. From here on the job cannot be lost.
    4. Ring, best effort: the keeper rings again if this is lost.

    Raises InvalidRequest with every problem, IdempotencyConflict when the key belongs to another request.
    """
    with database.begin() as session:
        if earlier := _earlier(session, request, owner, idempotency_key):
            return earlier
        checkpoints = catalog.by_name(session)
        resolved = _resolve(request, checkpoints, settings)
        unfolded = expand(resolved, {name: c.sha256 for name, c in checkpoints.items()})
        job_id = _insert_job(session, resolved, request.fingerprint, owner, idempotency_key)
        if job_id is None:
            # A rival with the same key committed since we looked.
            replay = _earlier(session, request, owner, idempotency_key)
            assert replay is not None, "the rival's row made this insert do nothing"
            return replay
        _insert_counters(session, job_id, owner, resolved, unfolded, checkpoints)
        copy_tasks(session, task_rows(job_id, unfolded, settings.max_attempts))
        record(session, "job.submitted", job_id=job_id)
        serving = fleet.workers_in_service(session, resolved.pool)
        reach("portal.accepting")
    reach("portal.accepted")
    images = count_images(resolved)
    doorbell.ring(resolved.pool, times=min(images, serving, 16))
    reach("portal.rung")
    return Submitted(job_id, images, is_replay=False, warnings=_warnings(resolved, serving))


def _resolve(request: JobRequest, checkpoints: dict[str, Checkpoint], settings: Settings) -> JobRequest:
    """Fill in the checkpoint where only one is meant; raise InvalidRequest for what the farm cannot do."""
    problems = [
        *_count_problems(request, settings),
        *_time_problems(request),
        *_size_problems(request, settings),
    ]
    if request.checkpoint is None and len(checkpoints) == 1:
        request = request.model_copy(update={"checkpoint": next(iter(checkpoints))})
    problems += _checkpoint_problems(request, checkpoints)
    if problems:
        raise InvalidRequest(problems)
    return request


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


def _size_problems(request: JobRequest, settings: Settings) -> Iterator[FieldProblem]:
    sides = {"width": request.width, "height": request.height}
    for index, row in enumerate(request.prompts):
        sides |= {f"prompts[{index}].width": row.width or 0, f"prompts[{index}].height": row.height or 0}
    for field, side in sides.items():
        if side > settings.max_side:
            yield FieldProblem(field, f"must be at most {settings.max_side} on this farm")


def _checkpoint_problems(request: JobRequest, checkpoints: dict[str, Checkpoint]) -> Iterator[FieldProblem]:
    known = ", ".join(sorted(checkpoints)) or "none yet; add one with `farm checkpoints add`"
    named = {"checkpoint": request.checkpoint}
    named |= {f"prompts[{i}].checkpoint": row.checkpoint for i, row in enumerate(request.prompts) if row.checkpoint}
    if request.checkpoint is None and any(row.checkpoint is None for row in request.prompts):
        yield FieldProblem("checkpoint", f"must be named. Known: {known}")
    for field, name in named.items():
        if name is not None and name not in checkpoints:
            yield FieldProblem(field, f"unknown checkpoint {name!r}. Known: {known}")


def _insert_job(
    session: Session, request: JobRequest, fingerprint: str, owner: str, idempotency_key: str | None
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


def _earlier(session: Session, request: JobRequest, owner: str, idempotency_key: str | None) -> Submitted | None:
    """The job this owner submitted under this key before; None if there is none, or no key."""
    if idempotency_key is None:
        return None
    job = session.scalars(
        select(Job).join(User).where(User.name == owner, Job.idempotency_key == idempotency_key)
    ).one_or_none()
    if job is None:
        return None
    if job.request_sha256 != request.fingerprint:
        raise IdempotencyConflict
    images = session.execute(select(func.count()).where(Task.job_id == job.id)).scalar_one()
    return Submitted(job.id, images, is_replay=True, warnings=())


def _insert_counters(
    session: Session,
    job_id: int,
    owner: str,
    request: JobRequest,
    unfolded: list[Unfolded],
    checkpoints: dict[str, Checkpoint],
) -> None:
    images: Counter[str] = Counter()
    for group in unfolded:
        images[group.batch_key] += len(group.seeds)
    owner_id = session.scalars(select(User.id).where(User.name == owner)).one()
    session.execute(
        insert(Counters),
        [
            {
                "job_id": job_id,
                "batch_key": key,
                "owner_id": owner_id,
                "checkpoint_id": checkpoints[group.template.checkpoint].id,
                "pool": request.pool,
                "priority": request.priority,
                "not_before": request.not_before,
                "is_open": True,
                "batch_limit": 1 if request.deterministic else None,
                "queued": images[key],
                "running": 0,
                "succeeded": 0,
                "failed": 0,
                "cancelled": 0,
            }
            for key, group in {group.batch_key: group for group in unfolded}.items()
        ],
    )


TaskRow = tuple[int, int, str, str, str, int]


def task_rows(job_id: int, unfolded: list[Unfolded], attempt_limit: int) -> Iterator[TaskRow]:
    """The rows of COPY_TASKS, in the order of the prompts and their seeds."""
    seq = 0
    for group in unfolded:
        for spec in group.specs():
            yield job_id, seq, TaskStatus.QUEUED, group.batch_key, spec.model_dump_json(), attempt_limit
            seq += 1


def copy_tasks(session: Session, rows: Iterable[TaskRow]) -> None:
    """COPY inside the session's transaction: 23 times as fast as the ORM."""
    connection = session.connection().connection.driver_connection
    assert connection is not None, "the session is bound to a live psycopg connection"
    with connection.cursor() as cursor, cursor.copy(COPY_TASKS) as copy:
        for row in rows:
            copy.write_row(row)


def _warnings(request: JobRequest, serving: int) -> tuple[str, ...]:
    if serving:
        return ()
    return (f"No worker serves the pool {request.pool!r} now; the job waits until one does.",)
