"""The verdict on a farm after a drill: what the database and the store say when all is quiet."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from farm.db.tables.jobs import Job
from farm.intake.request import JobRequest
from farm.sheets import grids
from farm.store.keys import weights_key
from tests.chaos import promises
from tests.chaos.load import Accepted
from tests.chaos.stage import Stage


@dataclass(frozen=True)
class Verdict:
    """What was found. `broken` has a sentence for each promise that was not kept."""

    accepted: int
    statuses: Counter[str]
    lost: int
    stored_twice: int
    stuck: int
    wrong: int
    orphans: int
    grids: int
    repeated_attempts: int
    broken: tuple[str, ...]


def judge(stage: Stage, accepted: list[Accepted]) -> Verdict:
    """Hold what was accepted, the rows and the objects against each other."""
    lost = list(_lost(stage, accepted))
    twice = list(_stored_twice(stage))
    orphans = list(_orphans(stage))
    wrong = list(promises.wrong_images(stage.database, stage.store))
    with stage.database.begin() as session:
        books = list(promises.wrong_rows(session))
    statuses = Counter(stage.column("SELECT status FROM tasks"))
    return Verdict(
        accepted=sum(job.images for job in accepted),
        statuses=statuses,
        lost=len(lost),
        stored_twice=len(twice),
        stuck=statuses["queued"] + statuses["running"],
        wrong=len(wrong),
        orphans=len(orphans),
        grids=stage.scalar("SELECT count(*) FROM grids"),
        repeated_attempts=stage.scalar("SELECT count(*) FROM attempts WHERE number > 1"),
        broken=(
            *(*lost, *twice, *wrong, *orphans, *books),
            *(*_wrong_jobs(stage), *_failed(stage), *_wrong_grids(stage), *_kept_away(stage)),
        ),
    )


def _lost(stage: Stage, accepted: list[Accepted]) -> Iterator[str]:
    """Accepted, and not there with all its images; or there twice."""
    query = """
        SELECT j.idempotency_key, count(DISTINCT j.id), min(j.id), count(t.id)
        FROM jobs j LEFT JOIN tasks t ON t.job_id = j.id GROUP BY 1
    """
    found = {key: (jobs, job_id, images) for key, jobs, job_id, images in stage.rows(query)}
    for job in accepted:
        if found.get(job.key) != (1, job.job_id, job.images):
            yield f"job {job.job_id} of {job.images} images was accepted; stored is {found.get(job.key)}"


def _stored_twice(stage: Stage) -> Iterator[str]:
    """Every task with more published images than the one that it may have, or with one that it may not have."""
    query = """
        SELECT t.id, t.status, count(a.id) FROM tasks t
        JOIN artifacts a ON a.role = 'result' AND split_part(split_part(a.key, '/', 3), '-', 1)::bigint = t.id
        GROUP BY t.id HAVING count(a.id) > (t.status = 'succeeded')::integer
    """
    for task_id, status, images in stage.rows(query):
        yield f"task {task_id} is {status}, and {images} images were published"


def _orphans(stage: Stage) -> Iterator[str]:
    weights = "SELECT jsonb_path_query(files, '$.*.sha256') #>> '{}' FROM checkpoints"
    known = {*stage.column("SELECT key FROM artifacts"), *map(weights_key, stage.column(weights))}
    for key in stage.store.keys():  # noqa: SIM118 - a store is no mapping
        if key not in known:
            yield f"the object {key} belongs to nothing"


def _wrong_jobs(stage: Stage) -> Iterator[str]:
    """A job's status follows from its tasks once all are final."""
    query = """
        SELECT j.id, j.status, CASE WHEN sum(c.cancelled) > 0 THEN 'cancelled' WHEN sum(c.failed) > 0 THEN 'failed'
                                    ELSE 'succeeded' END AS due
        FROM jobs j JOIN line_counts c ON c.job_id = j.id GROUP BY j.id HAVING sum(c.queued + c.running) = 0
    """
    for row in stage.rows(query):
        if row.status != row.due:
            yield f"job {row.id} is {row.status} and should be {row.due}"


def _failed(stage: Stage) -> Iterator[str]:
    """No image here can fail by itself: whatever made one fail, or use up a try, was a fault."""
    for task_id, reason in stage.rows("SELECT id, reason FROM tasks WHERE status = 'failed'"):
        yield f"task {task_id} failed: {reason}"
    for task_id, number, error in stage.rows(
        "SELECT task_id, number, error FROM attempts WHERE outcome = 'failed' ORDER BY task_id, number"
    ):
        yield f"attempt {number} of task {task_id} failed: {error}"


def _kept_away(stage: Stage) -> Iterator[str]:
    """A worker that could not read the store is not to blame for it."""
    for worker, reason in stage.rows("SELECT worker_name, reason FROM exclusions"):
        yield f"worker {worker} is kept from work: {reason}"


def _wrong_grids(stage: Stage) -> Iterator[str]:
    """Every sweep has the grids that would be drawn now, with nothing in the way, and so without a gap."""
    for job_id, is_due in stage.rows(
        "SELECT id, awaits_grid FROM jobs WHERE request -> 'axes' <> '[]' ORDER BY id"
    ):
        if is_due:
            yield f"job {job_id} has no grid"
            continue
        with stage.database.begin() as session:
            request = JobRequest.model_validate(session.get_one(Job, job_id).request)
            largest, frames = grids._frames(session, job_id)
        drawn = stage.column(
            "SELECT key FROM artifacts a JOIN grids ON artifact_id = a.id WHERE job_id = :id ORDER BY number",
            id=job_id,
        )
        due = [picture.content for picture in grids._drawings(request, frames, largest, stage.store)]
        if [stage.store.get(key) for key in drawn] != due:
            yield f"the grids of job {job_id} are not those of its images"
