"""How long the farm takes to accept a job, compared with a bare COPY of the same rows."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import delete, insert
from sqlalchemy.orm import Session

from farm.accounts import LOCAL_USER
from farm.bench.scratch import scratch_database
from farm.db.connection import Database
from farm.db.tables.jobs import Job
from farm.intake import submit
from farm.intake.library import KnownCheckpoint, Library
from farm.intake.request import JobRequest, parse_request
from farm.intake.rows import TaskRow, copy_tasks, task_rows
from farm.intake.unfold import expand
from farm.pictures.uploads import Desk
from farm.queue.doorbell import Doorbell
from farm.spec.families import FAMILIES
from farm.store.protocol import open_store


@dataclass(frozen=True)
class SubmitFigures:
    """Medians in seconds."""

    images: int
    submit_seconds: float
    copy_seconds: float

    @property
    def ratio(self) -> float:
        return self.submit_seconds / self.copy_seconds


def measure(images: int, rounds: int) -> SubmitFigures:
    """Accept a job and COPY its bare rows, in turn, so many times; from the request's JSON to the COMMIT."""
    prompts = [f"a lighthouse on a cliff, study number {number}, oil on canvas" for number in range(100)]
    body = {"prompts": prompts, "images_per_prompt": images // len(prompts), "checkpoint": "bench", "seed": 1}
    with scratch_database() as (settings, database):
        desk = Desk(database, open_store(settings), settings, LOCAL_USER)
        doorbell = Doorbell(settings.required_redis_url)
        request = parse_request(body)
        library = Library({"bench": KnownCheckpoint(0, "bench", FAMILIES["sd15"], "0" * 64)})
        rows = list(task_rows(0, expand(request, library).groups, settings.max_attempts))
        submits, copies = [], []
        for _ in range(rounds):
            submits.append(_time_submit(desk, doorbell, body))
            copies.append(_time_copy(database, request, rows))
    return SubmitFigures(len(rows), statistics.median(submits), statistics.median(copies))


def _time_submit(desk: Desk, doorbell: Doorbell, body: dict[str, object]) -> float:
    started = time.perf_counter()
    submit.accept(desk, doorbell, parse_request(body))
    return time.perf_counter() - started


def _time_copy(database: Database, request: JobRequest, rows: Sequence[TaskRow]) -> float:
    """COPY the finished rows under an empty job, commit, and delete them again."""
    with database.begin() as session:
        job_id = _insert_empty_job(session, request)
    own_rows = [(job_id, *row[1:]) for row in rows]
    started = time.perf_counter()
    with database.begin() as session:
        copy_tasks(session, own_rows)
    seconds = time.perf_counter() - started
    with database.begin() as session:
        session.execute(delete(Job).where(Job.id == job_id))
    return seconds


def _insert_empty_job(session: Session, request: JobRequest) -> int:
    values = {
        "owner_id": 1,
        "name": "bare COPY",
        "mode": request.mode,
        "request": {},
        "status": "active",
        "priority": 50,
        "pool": "bench",
        "request_sha256": "",
    }
    job_id: int = session.execute(insert(Job).values(values).returning(Job.id)).scalar_one()
    return job_id
