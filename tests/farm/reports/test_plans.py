"""How Postgres reads what pages show, on a farm with ten thousand jobs and a thousand deltas that wait."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Select, inspect, select
from sqlalchemy.orm import Session

from farm.db.tables.jobs import Job, Task
from farm.queue.deadlines import overdue
from farm.reports import gallery, overview
from tests.factories import Scene, a_year_of_workers, explain, many_lines

READERS: dict[str, Callable[[], Select[Any]]] = {
    "a job": lambda: overview._job_query().where(Job.id == 1),
    "a page of jobs": lambda: overview._job_query().order_by(Job.id.desc()).limit(50),
    "the farm at a glance": overview._open_images,
    "overdue jobs": lambda: select(overdue().subquery()),
}
OF_A_GIANT_JOB: dict[str, Callable[[], Select[Any]]] = {
    "tasks_succeeded": lambda: gallery._images(1, -1, 60),
    "tasks_tried": lambda: overview._evidence(1).limit(10),
    "tasks_running_of_job": lambda: overview._task_query(1, "running").order_by(Task.seq).limit(16),
}


@pytest.fixture
def session(scene: Scene) -> Any:
    many_lines(scene)
    with scene.database.begin() as session:
        yield session


@pytest.mark.parametrize("reader", READERS)
def test_counts_are_read_by_an_index(session: Session, reader: str) -> None:
    plan = explain(session, READERS[reader]())
    assert "Seq Scan on counters" not in plan, plan
    assert "Seq Scan on jobs" not in plan, plan


@pytest.mark.parametrize("index", OF_A_GIANT_JOB)
def test_of_a_giant_job_that_waits_no_more_is_read_than_is_shown(scene: Scene, index: str) -> None:
    scene.submit(images_per_prompt=5_000)
    scene.execute("ANALYZE tasks")
    with scene.database.begin() as session:
        plan = explain(session, OF_A_GIANT_JOB[index]())
    assert index in plan, plan


def test_workers_that_went_long_ago_are_not_read_to_count_those_that_live(scene: Scene) -> None:
    a_year_of_workers(scene)
    with scene.database.begin() as session:
        assert "Seq Scan on workers" not in explain(session, overview._live_workers())


def test_the_jobs_of_an_owner_are_found_by_an_index(session: Session) -> None:
    query = overview._job_query().where(Job.owner_id == 0).order_by(Job.id.desc()).limit(50)
    assert "jobs_of_owner" in explain(session, query)


def test_a_list_of_jobs_is_read_without_their_hundred_thousand_prompts(session: Session) -> None:
    job = session.scalars(overview._job_query().limit(1)).one()
    assert "request" in inspect(job).unloaded
