"""The pages."""

import html
import re

import pytest
from flask.testing import FlaskClient

from farm import endings
from farm.config import Settings
from farm.database import Database
from farm.queue import Doorbell
from tests.factories import a_job, a_worker, claim, publish

FORM = {
    "prompts": "a lighthouse\n\n  a harbour  \n",
    "checkpoint": "demo",
    "sampler": "Euler a",
    "num_inference_steps": "12",
    "guidance_scale": "6.5",
    "width": "512",
    "height": "512",
    "seed": "5",
    "images_per_prompt": "2",
    "priority": "60",
    "idempotency_key": "0123456789abcdef",
}


def key_of(page: str) -> str:
    found = re.search(r'name="idempotency_key" value="([^"]+)"', page)
    assert found is not None
    return found[1]


def test_an_empty_farm_invites_to_submit(client: FlaskClient) -> None:
    page = client.get("/").text
    assert "Submit the first" in page
    assert "data-live" not in page


def test_a_form_becomes_a_job_and_leads_to_its_page(client: FlaskClient) -> None:
    answer = client.post("/submit", data=FORM)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/jobs/1")
    tasks = client.get("/api/v1/jobs/1/tasks").json["tasks"]
    assert [(task["spec"]["prompt"], task["spec"]["seed"]) for task in tasks] == [
        ("a lighthouse", 5),
        ("a lighthouse", 6),
        ("a harbour", 5),
        ("a harbour", 6),
    ]


def test_a_form_with_its_options_left_empty_is_fine(client: FlaskClient) -> None:
    answer = client.post("/submit", data={"prompts": "x", "seed": "", "name": "", "checkpoint": ""})
    assert answer.status_code == 303


def test_a_form_sent_twice_makes_one_job(client: FlaskClient) -> None:
    first, second = (client.post("/submit", data=FORM) for _ in range(2))
    assert first.headers["Location"] == second.headers["Location"]
    assert len(client.get("/api/v1/jobs").json["jobs"]) == 1


def test_a_form_changed_after_it_was_sent_is_asked_about_and_then_makes_a_second_job(client: FlaskClient) -> None:
    client.post("/submit", data=FORM)
    answer = client.post("/submit", data={**FORM, "seed": "6"})
    assert answer.status_code == 409
    again = client.post("/submit", data={**FORM, "seed": "6", "idempotency_key": key_of(answer.text)})
    assert again.headers["Location"] == "/jobs/2"


def test_each_form_has_its_own_key(client: FlaskClient) -> None:
    assert key_of(client.get("/submit").text) != key_of(client.get("/submit").text)


def test_a_bad_form_is_shown_again_with_what_was_entered_and_what_is_wrong(client: FlaskClient) -> None:
    answer = client.post("/submit", data={**FORM, "width": "513", "num_inference_steps": "many"})
    assert answer.status_code == 422
    assert 'value="513"' in answer.text
    assert 'id="width-problem-1">must be a multiple of 8' in answer.text
    assert 'id="num_inference_steps-problem-1">' in answer.text
    assert client.get("/api/v1/jobs").json["jobs"] == []


@pytest.mark.parametrize(
    ("change", "mark"),
    [
        ({"prompts": " \n "}, "prompts-problem-1"),
        ({"prompts": "fine\n" + "x" * 10_001}, 'prompts-problem-1">prompt 2: '),
        ({"sampler": "LCM", "num_inference_steps": "60"}, "num_inference_steps-problem-1"),
        ({"checkpoint": "nowhere"}, "checkpoint-problem-1"),
        ({"seed": "-1"}, "seed-problem-1"),
        ({"guidance_scale": "nan"}, "guidance_scale-problem-1"),
        ({"priority": ""}, "priority-problem-1"),
        ({"name": "x" * 201}, "name-problem-1"),
        ({"images_per_prompt": "10001"}, "images_per_prompt-problem-1"),
    ],
)
def test_each_mistake_is_marked_at_its_field(client: FlaskClient, change: dict[str, str], mark: str) -> None:
    answer = client.post("/submit", data={**FORM, **change})
    assert answer.status_code == 422
    assert mark in answer.text
    assert client.get("/api/v1/jobs").json["jobs"] == []


def test_what_users_type_is_escaped(
    client: FlaskClient, database: Database, settings: Settings, doorbell: Doorbell
) -> None:
    nasty = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>"
    job = a_job(database, settings, doorbell, prompts=[nasty], name=nasty, negative_prompt=nasty)
    batch = claim(database, a_worker(database))
    assert batch is not None
    publish(database, batch.leases[0])
    for path in ("/", f"/jobs/{job.job_id}"):
        page = client.get(path).text
        assert nasty not in page
        assert "<script>alert" not in page
        assert html.escape("<img src=x") in page


def test_a_waiting_job_says_why_and_asks_for_itself_again(
    client: FlaskClient, database: Database, settings: Settings, doorbell: Doorbell
) -> None:
    job = a_job(database, settings, doorbell)
    page = client.get(f"/jobs/{job.job_id}").text
    assert "No worker serves the pool" in page
    assert f'data-live="/jobs/{job.job_id}/live"' in page


def test_a_finished_job_shows_its_images_and_is_asked_for_no_more(
    client: FlaskClient, database: Database, settings: Settings, doorbell: Doorbell
) -> None:
    job = a_job(database, settings, doorbell)
    batch = claim(database, a_worker(database))
    assert batch is not None
    publish(database, batch.leases[0])
    page = client.get(f"/jobs/{job.job_id}/live").text
    assert "/files/thumbnail/" in page
    assert "seed 1" in page
    assert "data-live" not in page


def test_the_list_shows_the_first_images_of_each_job(
    client: FlaskClient, database: Database, settings: Settings, doorbell: Doorbell
) -> None:
    for _ in range(2):
        a_job(database, settings, doorbell, images_per_prompt=8)
    batch = claim(database, a_worker(database), limit=7)
    assert batch is not None
    for lease in batch.leases:
        publish(database, lease)
    assert client.get("/live").text.count("/files/thumbnail/") == 6


def test_the_list_has_pages(
    client: FlaskClient, database: Database, settings: Settings, doorbell: Doorbell
) -> None:
    for number in range(21):
        a_job(database, settings, doorbell, name=f"number {number:02}")
    first = client.get("/").text
    assert "number 20" in first
    assert "number 00" not in first
    assert "number 00" in client.get("/?before=2").text


def test_failed_attempts_are_shown_with_their_error(
    client: FlaskClient, database: Database, settings: Settings, doorbell: Doorbell
) -> None:
    job = a_job(database, settings, doorbell)
    batch = claim(database, a_worker(database))
    assert batch is not None
    with database.begin() as session:
        endings.fail(session, batch.leases[0], "out of memory", is_retryable=False)
    assert "out of memory" in client.get(f"/jobs/{job.job_id}").text


@pytest.mark.parametrize(("action", "status"), [("pause", "paused"), ("cancel", "cancelled")])
def test_a_button_does_what_it_says_and_leads_back(
    client: FlaskClient, database: Database, settings: Settings, doorbell: Doorbell, action: str, status: str
) -> None:
    job = a_job(database, settings, doorbell)
    answer = client.post(f"/jobs/{job.job_id}/{action}")
    assert (answer.status_code, answer.headers["Location"]) == (303, f"/jobs/{job.job_id}")
    assert client.get(f"/api/v1/jobs/{job.job_id}").json["status"] == status


def test_a_button_that_comes_too_late_explains_itself(
    client: FlaskClient, database: Database, settings: Settings, doorbell: Doorbell
) -> None:
    job = a_job(database, settings, doorbell)
    client.post(f"/jobs/{job.job_id}/cancel")
    answer = client.post(f"/jobs/{job.job_id}/pause")
    assert answer.status_code == 409
    assert "cannot be paused" in answer.text


@pytest.mark.parametrize(("priority", "status"), [("70", 303), ("101", 422), ("high", 422), ("", 422)])
def test_a_priority_is_set_by_form(
    client: FlaskClient, database: Database, settings: Settings, doorbell: Doorbell, priority: str, status: int
) -> None:
    job = a_job(database, settings, doorbell)
    assert client.post(f"/jobs/{job.job_id}/priority", data={"priority": priority}).status_code == status


def test_workers_are_shown(client: FlaskClient, database: Database) -> None:
    assert "No worker has been here" in client.get("/workers").text
    a_worker(database)
    assert "host/cpu" in client.get("/workers").text


@pytest.mark.parametrize("path", ["/jobs/99", "/jobs/99/live", f"/jobs/{2**63}", "/jobs/x"])
def test_a_job_that_is_not_there_has_no_page(client: FlaskClient, path: str) -> None:
    assert client.get(path).status_code == 404


@pytest.mark.parametrize("query", ["before=x", "before=-5", f"before={10**30}"])
def test_a_strange_page_number_does_no_harm(client: FlaskClient, query: str) -> None:
    assert client.get(f"/?{query}").status_code == 200
