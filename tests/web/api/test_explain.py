"""Why images of a job wait, in words."""

from datetime import UTC, datetime, timedelta

import pytest
from flask.testing import FlaskClient

from farm import accounts
from farm.config import Settings
from farm.db.connection import Database
from farm.queue.doorbell import Doorbell
from farm.queue.workers import fleet
from tests.factories import Scene, a_checkpoint, a_job, a_worker, claim


def reasons(client: FlaskClient, job_id: int) -> list[str]:
    found: list[str] = client.get(f"/api/v1/jobs/{job_id}/explain").json["reasons"]
    return found


def beat(database: Database, worker_id: int, status: str) -> None:
    with database.begin() as session:
        fleet.beat(session, worker_id, status, None)


def test_a_pool_without_a_worker_is_the_reason(
    client: FlaskClient, database: Database, settings: Settings, doorbell: Doorbell
) -> None:
    job = a_job(database, settings, doorbell, pool="attic")
    a_worker(database, pool="cellar")
    assert reasons(client, job.job_id) == ["No worker serves the pool 'attic' now. Start one with `farm worker`."]


def test_a_pause_and_a_start_time_in_the_future_are_reasons(
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


def test_images_ahead_in_the_queue_are_counted(
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


@pytest.mark.parametrize("status", ["idle", "drained"])
def test_workers_out_of_service_are_named_with_the_reason_and_the_way_back(
    client: FlaskClient, scene: Scene, status: str
) -> None:
    job_id = scene.submit()
    beat(scene.database, scene.worker(), status)
    scene.drain(reason="drained by ana: changing the fan.")
    assert reasons(client, job_id) == [
        "Worker host/cpu is out of service: drained by ana: changing the fan. `farm restore host/cpu` puts it back."
    ]


def test_workers_out_of_service_are_named_if_the_others_are_busy(client: FlaskClient, scene: Scene) -> None:
    job_id = scene.submit()
    for device, status in (("0", "busy"), ("1", "idle")):
        beat(scene.database, scene.worker(device), status)
    scene.drain("host/1")
    busy, out = reasons(client, job_id)
    assert busy == "All workers are busy (1 of 1)."
    assert out.startswith("Worker host/1 is out of service: ")


def test_a_worker_that_avoids_the_jobs_checkpoint_is_not_counted_as_free(client: FlaskClient, scene: Scene) -> None:
    job_id = scene.submit()
    for device, status in (("0", "busy"), ("1", "idle")):
        beat(scene.database, scene.worker(device), status)
    scene.avoid("host/1", a_checkpoint(scene.database), "torn")
    busy, kept = reasons(client, job_id)
    assert busy == "All workers are busy (1 of 1)."
    assert kept == (
        "Worker host/1 is kept from checkpoint demo: torn. "
        "`farm restore host/1 --checkpoint demo` lets it try again."
    )


def test_a_checkpoint_that_all_workers_avoid_is_no_reason_to_wait(client: FlaskClient, scene: Scene) -> None:
    job_id = scene.submit()
    for device in "01":
        beat(scene.database, scene.worker(device), "idle")
        scene.avoid(f"host/{device}", a_checkpoint(scene.database))
    assert reasons(client, job_id) == ["A free worker takes it within seconds."]


def test_only_the_first_of_many_workers_out_of_service_are_named(client: FlaskClient, scene: Scene) -> None:
    job_id = scene.submit()
    for device in range(7):
        scene.worker(str(device))
        scene.drain(f"host/{device}")
    told = reasons(client, job_id)
    assert len(told) == 6
    assert told[-1] == "2 more are told by `farm workers`."


def test_a_worker_out_of_service_is_no_reason_if_another_is_free(client: FlaskClient, scene: Scene) -> None:
    job_id = scene.submit()
    for device in "01":
        beat(scene.database, scene.worker(device), "idle")
    scene.drain("host/0")
    assert reasons(client, job_id) == ["A free worker takes it within seconds."]


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
    a_worker(database, status="starting")
    assert reasons(client, job.job_id) == ["No worker is free: 1 busy, 1 starting."]


def test_a_job_that_is_about_to_start_is_reported_so(
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


def test_a_worker_in_trouble_is_named_and_not_counted_as_free(client: FlaskClient, scene: Scene) -> None:
    job_id = scene.submit()
    scene.trouble(scene.worker(), "it cannot claim work: value out of range: underflow")
    assert reasons(client, job_id) == [
        "Worker host/cpu is in trouble: it cannot claim work: value out of range: underflow"
    ]


def test_a_worker_in_trouble_is_named_if_the_others_are_busy(client: FlaskClient, scene: Scene) -> None:
    job_id = scene.submit()
    scene.trouble(scene.worker("0"))
    scene.worker("1", status="busy")
    assert reasons(client, job_id) == [
        "All workers are busy (1 of 1).",
        "Worker host/0 is in trouble: it cannot claim work",
    ]


def test_a_worker_too_small_for_a_job_is_not_counted_as_free(client: FlaskClient, scene: Scene) -> None:
    job_id = scene.submit(width=1024, height=1024, images_per_prompt=2)
    small, large = scene.worker("0"), scene.worker("1")
    scene.fail_for_memory(*scene.claim(small, limit=1), "An image of 1024 x 1024 does not fit.")
    beat(scene.database, large, "busy")
    assert reasons(client, job_id) == [
        "All workers are busy (1 of 1).",
        "1 image failed before or lost the worker: each is tried alone, on another worker if there is one.",
        (
            "Worker host/0 leaves sd15 images of this size to others: An image of 1024 x 1024 does not fit. "
            "`farm restore host/0` lets it try again."
        ),
    ]


def test_an_image_that_a_free_worker_failed_is_explained_by_what_it_waits_for(
    client: FlaskClient, scene: Scene
) -> None:
    job_id = scene.submit()
    failing, _ = scene.worker("0"), scene.worker("1", status="busy")
    scene.fail(*scene.claim(failing))
    assert reasons(client, job_id) == [
        "1 image failed before or lost the worker: each is tried alone, on another worker if there is one."
    ]


def test_when_a_job_starts_and_ends_is_told_by_the_plan(client: FlaskClient, scene: Scene) -> None:
    scene.worker(status="busy")
    job_id = scene.submit(images_per_prompt=20)
    scene.execute("INSERT INTO plans (pool) VALUES ('default')")
    scene.execute(
        "INSERT INTO outlooks (group_id, owner_id, class, reason, starts_in_low, starts_in_high, "
        "images_per_second) SELECT group_id, owner_id, class, 'busy', 120, 240, 0.02 FROM counters"
    )
    told = client.get(f"/api/v1/jobs/{job_id}/explain").json
    assert told["reasons"][0] == "Every worker that suits it renders work that goes first."
    assert told["expected"]["starts_high"] == pytest.approx(240, abs=5)
    assert client.get(f"/api/v1/jobs/{job_id}").json["expected"]["ends_high"] == pytest.approx(240 + 1500, abs=5)
    page = client.get(f"/jobs/{job_id}").text
    assert "Starts in about 1 to 4 min, ends in about 14 to 29 min." in page


def test_without_a_plan_nobody_says_when(client: FlaskClient, scene: Scene) -> None:
    job_id = scene.submit()
    assert client.get(f"/api/v1/jobs/{job_id}/explain").json["expected"] is None
    assert 'id="expected"' not in client.get(f"/jobs/{job_id}").text
