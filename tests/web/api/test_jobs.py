"""The jobs, tasks, images and attempts that the API shows, and what people do with a job."""

import pytest
from flask.testing import FlaskClient

from farm.config import Settings
from farm.db.connection import Database
from farm.queue import endings
from farm.queue.doorbell import Doorbell
from farm.queue.progress import Progress, ProgressBoard
from tests.factories import a_job, a_worker, claim, publish


@pytest.fixture
def job_id(client: FlaskClient, database: Database, settings: Settings, doorbell: Doorbell) -> int:
    """A job of three images."""
    return a_job(database, settings, doorbell, images_per_prompt=3).job_id


def status_of(client: FlaskClient, job_id: int) -> str:
    status: str = client.get(f"/api/v1/jobs/{job_id}").json["status"]
    return status


def test_jobs_are_listed_newest_first_page_by_page(client: FlaskClient) -> None:
    ids = [client.post("/api/v1/jobs", json={"prompts": ["x"]}).json["id"] for _ in range(3)]
    first = client.get("/api/v1/jobs?limit=2").json
    assert [job["id"] for job in first["jobs"]] == [ids[2], ids[1]]
    last = client.get(f"/api/v1/jobs?limit=2&before={first['next']}").json
    assert [job["id"] for job in last["jobs"]] == [ids[0]]
    assert last["next"] is None


def test_jobs_are_listed_by_status_and_owner(client: FlaskClient, job_id: int) -> None:
    assert [job["id"] for job in client.get("/api/v1/jobs?status=active&owner=local").json["jobs"]] == [job_id]
    assert client.get("/api/v1/jobs?status=paused").json["jobs"] == []
    assert client.get("/api/v1/jobs?owner=somebody").json["jobs"] == []


@pytest.mark.parametrize(
    ("query", "field"),
    [("limit=0", "limit"), ("limit=201", "limit"), ("status=done", "status"), ("before=x", "before"),
     ("owner=%00", "owner"), ("page=2", "page"), (f"before={2**63}", "before")],
)  # fmt: skip
def test_a_bad_query_is_refused_by_name(client: FlaskClient, query: str, field: str) -> None:
    answer = client.get(f"/api/v1/jobs?{query}")
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json["errors"]] == [field]


@pytest.mark.parametrize("path", ["", "/tasks", "/images", "/attempts", "/explain"])
@pytest.mark.parametrize("job_id", [99, 2**63])
def test_the_parts_of_an_unknown_job_are_not_found(client: FlaskClient, path: str, job_id: int) -> None:
    assert client.get(f"/api/v1/jobs/{job_id}{path}").status_code == 404


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_an_impossible_job_id_is_not_found_by_patch_or_delete(client: FlaskClient, method: str) -> None:
    assert client.open(f"/api/v1/jobs/{2**63}", method=method, json={"priority": 1}).status_code == 404


def test_a_priority_is_changed(client: FlaskClient, job_id: int) -> None:
    assert client.patch(f"/api/v1/jobs/{job_id}", json={"priority": 90}).json["priority"] == 90


@pytest.mark.parametrize("change", [{}, {"priority": 101}, {"priority": 1, "status": "paused"}])
def test_a_bad_change_is_refused(client: FlaskClient, job_id: int, change: dict[str, object]) -> None:
    assert client.patch(f"/api/v1/jobs/{job_id}", json=change).status_code == 422
    assert client.get(f"/api/v1/jobs/{job_id}").json["priority"] == 50


def test_a_deleted_job_is_cancelled_but_kept(client: FlaskClient, job_id: int) -> None:
    answer = client.delete(f"/api/v1/jobs/{job_id}")
    assert (answer.status_code, answer.data) == (204, b"")
    assert status_of(client, job_id) == "cancelled"


def test_a_job_is_paused_and_resumed(client: FlaskClient, job_id: int) -> None:
    assert client.post(f"/api/v1/jobs/{job_id}/pause").json["status"] == "paused"
    assert client.post(f"/api/v1/jobs/{job_id}/resume").json["status"] == "active"


def test_a_cancelled_job_cannot_be_cancelled_again(client: FlaskClient, job_id: int) -> None:
    client.post(f"/api/v1/jobs/{job_id}/cancel")
    answer = client.post(f"/api/v1/jobs/{job_id}/cancel")
    assert answer.status_code == 409
    assert answer.json["detail"] == f"Job {job_id} is cancelled; it cannot be cancelled."


def test_failed_images_are_listed_with_their_error_and_retried(
    client: FlaskClient, database: Database, job_id: int
) -> None:
    batch = claim(database, a_worker(database))
    assert batch is not None
    with database.begin() as session:
        for lease in batch.leases:
            endings.fail(session, lease, "the weights are broken", is_retryable=False)
    attempts = client.get(f"/api/v1/jobs/{job_id}/attempts").json["attempts"]
    assert {attempt["error"] for attempt in attempts} == {"the weights are broken"}
    assert client.post(f"/api/v1/jobs/{job_id}/retry").json["images"]["queued"] == 3


def test_a_job_without_failures_cannot_be_retried(client: FlaskClient, job_id: int) -> None:
    assert client.post(f"/api/v1/jobs/{job_id}/retry").status_code == 409


def test_running_tasks_show_their_progress(
    client: FlaskClient, database: Database, settings: Settings, job_id: int
) -> None:
    batch = claim(database, a_worker(database), limit=1)
    assert batch is not None
    board = ProgressBoard(settings.required_redis_url)
    board.write({batch.leases[0].task_id: Progress(attempt=1, step=5, steps=20)})
    board.close()
    running = client.get(f"/api/v1/jobs/{job_id}/tasks?status=running").json["tasks"]
    assert [task["progress"] for task in running] == [0.25]


def test_progress_of_an_earlier_attempt_is_not_shown(
    client: FlaskClient, database: Database, settings: Settings, job_id: int
) -> None:
    batch = claim(database, a_worker(database), limit=1)
    assert batch is not None
    board = ProgressBoard(settings.required_redis_url)
    board.write({batch.leases[0].task_id: Progress(attempt=0, step=5, steps=20)})
    board.close()
    assert client.get(f"/api/v1/jobs/{job_id}/tasks?limit=1").json["tasks"][0]["progress"] is None


def test_tasks_are_listed_page_by_page(client: FlaskClient, job_id: int) -> None:
    first = client.get(f"/api/v1/jobs/{job_id}/tasks?limit=2").json
    last = client.get(f"/api/v1/jobs/{job_id}/tasks?limit=2&after={first['next']}").json
    assert [task["seq"] for task in first["tasks"] + last["tasks"]] == [0, 1, 2]
    assert last["next"] is None


def test_published_images_are_listed_with_links_page_by_page(
    client: FlaskClient, database: Database, job_id: int
) -> None:
    batch = claim(database, a_worker(database))
    assert batch is not None
    for lease in batch.leases:
        publish(database, lease)
    first = client.get(f"/api/v1/jobs/{job_id}/images?limit=2").json
    last = client.get(f"/api/v1/jobs/{job_id}/images?limit=2&after={first['next']}").json
    assert [image["filename"] for image in first["images"]] == [f"{job_id}-00000-1.png", f"{job_id}-00001-2.png"]
    assert last["images"][0]["url"].startswith("/files/result/")
    assert last["next"] is None


def test_checkpoints_samplers_workers_and_figures_are_shown(
    client: FlaskClient, database: Database, job_id: int
) -> None:
    a_worker(database, status="starting")
    assert client.get("/api/v1/checkpoints").json["checkpoints"][0]["name"] == "demo"
    assert "Euler a" in [sampler["name"] for sampler in client.get("/api/v1/samplers").json["samplers"]]
    assert client.get("/api/v1/workers").json["workers"][0]["status"] == "starting"
    no_error = {"jobs": 0, "median": None, "p90": None, "within": None}
    figures = {
        "queued": 3,
        "running": 0,
        "workers_live": 1,
        "workers_in_service": 1,
        "workers_busy": 0,
        "plans": [],
        "shares": [],
        "starts": no_error,
        "ends": no_error,
    }
    assert client.get("/api/v1/stats").json == figures
