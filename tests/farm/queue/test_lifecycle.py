"""The states and the arrows between them."""

from concurrent.futures import ThreadPoolExecutor
from itertools import product

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from farm.db.tables.jobs import Task
from farm.queue import deadlines, lifecycle, states
from farm.queue.states import Arrow, JobStatus, TaskStatus
from tests.factories import Scene

DOCUMENTED_TASK_ARROWS = {
    ("queued", "running"),
    ("queued", "cancelled"),
    ("running", "succeeded"),
    ("running", "failed"),
    ("running", "cancelled"),
    ("running", "queued"),
    ("failed", "queued"),
}

DOCUMENTED_JOB_ARROWS = {
    ("active", "paused"),
    ("active", "succeeded"),
    ("active", "failed"),
    ("active", "cancelled"),
    ("paused", "active"),
    ("paused", "succeeded"),
    ("paused", "failed"),
    ("paused", "cancelled"),
    ("failed", "active"),
}


def test_the_arrows_of_tasks_are_the_documented_ones() -> None:
    assert {(source, arrow.target) for arrow in states.ARROWS for source in arrow.sources} == (
        DOCUMENTED_TASK_ARROWS
    )


def test_the_arrows_of_jobs_are_the_documented_ones() -> None:
    assert {(source, target) for target, sources in states.JOB_ARROWS.items() for source in sources} == (
        DOCUMENTED_JOB_ARROWS
    )


def test_a_final_task_moves_only_by_a_retry() -> None:
    out_of_final = [arrow for arrow in states.ARROWS for source in arrow.sources if source.is_final]
    assert out_of_final == [lifecycle.RETRY]


@pytest.mark.parametrize("arrow", states.ARROWS, ids=lambda arrow: arrow.name)
@pytest.mark.parametrize("status", list(TaskStatus))
def test_a_task_moves_along_an_arrow_only_from_its_sources(scene: Scene, arrow: Arrow, status: TaskStatus) -> None:
    job_id = scene.submit()
    put(scene, status)
    with scene.database.begin() as session:
        lease = {"lease_until": text("now()") if arrow is lifecycle.CLAIM else None}
        moved = lifecycle.move(session, arrow, lifecycle.lock(arrow, Task.job_id == job_id), values=lease)
    assert bool(moved) == (status in arrow.sources)
    assert scene.statuses(job_id) == [arrow.target if moved else status]
    assert scene.counters() == scene.recount()


@pytest.mark.parametrize(("source", "target"), list(product(JobStatus, JobStatus)))
def test_a_job_moves_only_where_an_arrow_leads(scene: Scene, source: JobStatus, target: JobStatus) -> None:
    job_id = scene.submit()
    finished_at = "now()" if source.is_final else "NULL"
    with scene.database.begin() as session:
        session.execute(text(f"UPDATE jobs SET status = '{source}', finished_at = {finished_at}"))
        assert lifecycle.move_job(session, job_id, target) == ((source, target) in DOCUMENTED_JOB_ARROWS)


@pytest.mark.parametrize("status", list(TaskStatus))
def test_the_database_knows_every_status_of_a_task(scene: Scene, status: TaskStatus) -> None:
    job_id = scene.submit()
    put(scene, status)
    assert scene.statuses(job_id) == [status]


@pytest.mark.parametrize("table", ["tasks", "jobs"])
def test_the_database_refuses_a_status_that_does_not_exist(scene: Scene, table: str) -> None:
    scene.submit()
    with pytest.raises(IntegrityError, match="status_check"), scene.database.begin() as session:
        session.execute(text(f"UPDATE {table} SET status = 'done'"))


def test_the_database_refuses_a_running_task_without_a_lease(scene: Scene) -> None:
    scene.submit()
    with pytest.raises(IntegrityError, match="tasks_lease"), scene.database.begin() as session:
        session.execute(text("UPDATE tasks SET status = 'running'"))


def test_the_database_refuses_a_job_that_ended_without_an_end(scene: Scene) -> None:
    scene.submit()
    with pytest.raises(IntegrityError), scene.database.begin() as session:
        session.execute(text("UPDATE jobs SET status = 'succeeded'"))


@pytest.mark.parametrize("status", list(TaskStatus))
def test_counts_are_not_changed_with_what_claims_read(scene: Scene, status: TaskStatus) -> None:
    job_id = scene.submit()
    with scene.database.begin() as session, pytest.raises(ValueError, match=status):
        lifecycle.update_counters(session, job_id, **{status: 3, "priority": 7})


def test_a_job_whose_last_images_are_called_off_by_two_at_once_ends(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two keepers that cancel an overdue job part by part: each sees that the other's part is left."""
    monkeypatch.setattr(deadlines, "_MOST_CANCELLED", 100)
    job_id = scene.submit(
        prompts=[{"prompt": "a", "width": width, "images_per_prompt": 100} for width in (512, 768)]
    )

    def cancel_some() -> None:
        with scene.database.begin() as session:
            deadlines.cancel_queued(session, job_id, "late")

    with ThreadPoolExecutor() as threads:
        with scene.database.begin() as session:
            deadlines.cancel_queued(session, job_id, "late")
            other = threads.submit(cancel_some)
            scene.wait_for_blocked()
        other.result()
    assert scene.job(job_id).status == "cancelled"
    assert scene.counters() == scene.recount()


def test_a_move_spares_a_task_that_has_become_final(scene: Scene) -> None:
    job_id = scene.submit()
    [lease] = scene.claim(scene.worker())
    scene.publish(lease)
    with scene.database.begin() as session:
        chosen = lifecycle.lock(lifecycle.CANCEL, Task.job_id == job_id)
        assert lifecycle.move(session, lifecycle.CANCEL, chosen, values={"lease_until": None}) == []


def put(scene: Scene, status: TaskStatus) -> None:
    """Set the status of the only task by hand, and its counters."""
    lease = "now()" if status is TaskStatus.RUNNING else "NULL"
    with scene.database.begin() as session:
        session.execute(text(f"UPDATE tasks SET status = '{status}', lease_until = {lease}"))
        session.execute(text("UPDATE counters SET queued = 0"))
        session.execute(text(f"UPDATE counters SET {status} = 1"))
