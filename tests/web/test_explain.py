"""Why images of a job wait, in words."""

from datetime import UTC, datetime, timedelta

from flask.testing import FlaskClient

from farm import accounts, fleet
from farm.config import Settings
from farm.database import Database
from farm.queue import Doorbell
from tests.factories import a_job, a_worker, claim


def reasons(client: FlaskClient, job_id: int) -> list[str]:
    found: list[str] = client.get(f"/api/v1/jobs/{job_id}/explain").json["reasons"]
    return found


def beat(database: Database, worker_id: int, status: str) -> None:
    with database.begin() as session:
        fleet.beat(session, worker_id, status, None)


def test_without_a_worker_that_is_the_reason(
    client: FlaskClient, database: Database, settings: Settings, doorbell: Doorbell
) -> None:
    job = a_job(database, settings, doorbell, pool="attic")
    a_worker(database, pool="cellar")
    assert reasons(client, job.job_id) == ["No worker serves the pool 'attic' now. Start one with `farm worker`."]


def test_a_paused_job_and_one_whose_time_has_not_come_say_so(
    client: FlaskClient, database: Database, settings: Settings, doorbell: Doorbell
) -> None:
    a_worker(database)
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    job = a_job(database, settings, doorbell, not_before=tomorrow.isoformat())
    client.post(f"/api/v1/jobs/{job.job_id}/pause")
    assert reasons(client, job.job_id) == [
        "The job is paused.",
        f"No image starts before {tomorrow:%Y-%m-%d %H:%M} UTC.",
    ]


def test_who_goes_first_is_counted(
    client: FlaskClient, database: Database, settings: Settings, doorbell: Doorbell
) -> None:
    with database.begin() as session:
        accounts.add_user(session, "mia")
    a_job(database, settings, doorbell, priority=80, images_per_prompt=2)
    a_job(database, settings, doorbell)
    job = a_job(database, settings, doorbell)
    a_job(database, settings, doorbell, owner="mia", images_per_prompt=5)
    beat(database, a_worker(database), "idle")
    assert reasons(client, job.job_id) == [
        "2 images of other jobs with a higher priority are ahead.",
        "1 image of older jobs of the same owner is ahead.",
        "5 images of other owners are waiting too; owners take turns.",
    ]


def test_busy_workers_are_counted(
    client: FlaskClient, database: Database, settings: Settings, doorbell: Doorbell
) -> None:
    job = a_job(database, settings, doorbell)
    for _ in range(2):
        beat(database, a_worker(database), "busy")
    assert reasons(client, job.job_id) == ["All workers are busy (2 of 2)."]


def test_workers_that_are_not_ready_are_named(
    client: FlaskClient, database: Database, settings: Settings, doorbell: Doorbell
) -> None:
    job = a_job(database, settings, doorbell)
    beat(database, a_worker(database), "busy")
    a_worker(database)
    assert reasons(client, job.job_id) == ["No worker is free: 1 busy, 1 starting."]


def test_a_job_that_is_about_to_start_says_so(
    client: FlaskClient, database: Database, settings: Settings, doorbell: Doorbell
) -> None:
    job = a_job(database, settings, doorbell)
    beat(database, a_worker(database), "idle")
    assert reasons(client, job.job_id) == ["A free worker takes it within seconds."]


def test_a_job_with_nothing_left_to_start_needs_no_reason(
    client: FlaskClient, database: Database, settings: Settings, doorbell: Doorbell
) -> None:
    job = a_job(database, settings, doorbell)
    claim(database, a_worker(database))
    assert reasons(client, job.job_id) == []
