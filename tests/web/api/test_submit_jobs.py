"""POST /jobs: what is accepted, what is refused, and what a repeat does."""

import base64
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import func, select

from farm.db.connection import Database
from farm.db.tables.jobs import Job, Task
from farm.pictures import decoderpool
from tests.factories import a_worker
from tests.pictures import a_doubtful_mask, a_picture, busy_decoders, encoded

JOB = {"prompts": ["a lighthouse", "a harbour"], "seed": 7}


def stored(database: Database) -> tuple[int, int]:
    """How many jobs and tasks there are."""
    with database.begin() as session:
        jobs = session.execute(select(func.count()).select_from(Job)).scalar_one()
        return jobs, session.execute(select(func.count()).select_from(Task)).scalar_one()


def test_an_accepted_job_is_stored_with_its_tasks_and_found_at_its_location(
    client: FlaskClient, database: Database
) -> None:
    answer = client.post("/api/v1/jobs", json=JOB)
    assert answer.status_code == 201
    assert stored(database) == (1, 2)
    found = client.get(answer.headers["Location"]).json
    assert found["images"]["queued"] == 2
    assert found["owner"] == "local"


def test_a_job_that_no_worker_can_serve_yet_is_accepted_with_a_warning(client: FlaskClient) -> None:
    warnings = client.post("/api/v1/jobs", json=JOB).json["warnings"]
    assert warnings == ["No worker serves the pool 'default' now; the job waits until one does."]


def test_a_job_with_a_worker_in_its_pool_has_no_warning(client: FlaskClient, database: Database) -> None:
    a_worker(database)
    assert client.post("/api/v1/jobs", json=JOB).json["warnings"] == []


def test_a_repeat_with_the_same_key_answers_the_first_job(client: FlaskClient, database: Database) -> None:
    headers = {"Idempotency-Key": "monday"}
    first = client.post("/api/v1/jobs", json=JOB, headers=headers)
    again = client.post("/api/v1/jobs", json=JOB, headers=headers)
    assert again.status_code == 201
    assert again.json["id"] == first.json["id"]
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert stored(database) == (1, 2)


def test_a_repeat_takes_in_no_picture_again(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    headers = {"Idempotency-Key": "monday"}
    job = {"mode": "img2img", "prompts": ["x"], "image": base64.b64encode(encoded(a_picture())).decode()}
    first = client.post("/api/v1/jobs", json=job, headers=headers)
    monkeypatch.setattr(decoderpool, "_MOST_WAITING_SECONDS", 0.05)
    with busy_decoders():
        again = client.post("/api/v1/jobs", json=job, headers=headers)
        other = client.post("/api/v1/jobs", json={**job, "prompts": ["y"]}, headers=headers)
    assert (first.status_code, again.status_code, other.status_code) == (201, 201, 409)
    assert again.json["id"] == first.json["id"]


def test_a_job_with_an_ambiguous_mask_warns_how_it_was_read(client: FlaskClient) -> None:
    image, mask = (base64.b64encode(content).decode() for content in (encoded(a_picture()), a_doubtful_mask()))
    job = {"mode": "inpaint", "prompts": ["x"], "image": image, "mask": mask}
    answer = client.post("/api/v1/jobs", json=job)
    said = "mask: the mask is read by its brightness"
    assert any(warning.startswith(said) for warning in answer.json["warnings"])
    kept = client.get(f"/api/v1/jobs/{answer.json['id']}").json["warnings"]
    assert [warning.startswith(said) for warning in kept] == [True]


def test_a_key_used_for_another_request_is_a_conflict(client: FlaskClient, database: Database) -> None:
    headers = {"Idempotency-Key": "monday"}
    client.post("/api/v1/jobs", json=JOB, headers=headers)
    answer = client.post("/api/v1/jobs", json={**JOB, "seed": 8}, headers=headers)
    assert answer.status_code == 409
    assert answer.json["type"] == "urn:farm:problem:idempotency-conflict"
    assert stored(database) == (1, 2)


@pytest.mark.parametrize("key", ["", "x" * 256, "caf\u00e9"])
def test_a_key_that_cannot_be_kept_is_refused(client: FlaskClient, database: Database, key: str) -> None:
    answer = client.post("/api/v1/jobs", json=JOB, headers={"Idempotency-Key": key})
    assert answer.status_code == 422
    assert answer.json["errors"][0]["field"] == "Idempotency-Key"
    assert stored(database) == (0, 0)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"prompts": []}, "prompts"),
        ({"prompts": [17]}, "prompts[0]"),
        ({"prompts": ["fine", {"prompt": "x", "width": 513}]}, "prompts[1].width"),
        ({"prompts": ["nul \x00"]}, "prompts[0].prompt"),
        ({"prompts": ["half a pair \ud800"]}, "prompts[0].prompt"),
        ({"prompts": ["x" * 10_001]}, "prompts[0].prompt"),
        ({"width": 10**30}, "width"),
        ({"height": 4096}, "height"),
        ({"num_inference_steps": 0}, "num_inference_steps"),
        ({"sampler": "LCM", "num_inference_steps": 60}, "num_inference_steps"),
        ({"guidance_scale": float("nan")}, "guidance_scale"),
        ({"sampler": "Euler b"}, "sampler"),
        ({"checkpoint": "nowhere"}, "checkpoint"),
        ({"seed": -2}, "seed"),
        ({"seed": 2**32}, "seed"),
        ({"images_per_prompt": 0}, "images_per_prompt"),
        ({"priority": 101}, "priority"),
        ({"class": "urgent"}, "class"),
        ({"max_devices": 0}, "max_devices"),
        ({"pool": "No Such!"}, "pool"),
        ({"deadline": "2001-01-01T00:00:00Z"}, "deadline"),
        ({"not_before": "2001-01-01T00:00:00"}, "not_before"),
        ({"mode": "video"}, "mode"),
        ({"promts": ["x"]}, "promts"),
    ],
)
def test_a_bad_field_is_named_and_nothing_is_stored(
    client: FlaskClient, database: Database, change: dict[str, Any], field: str
) -> None:
    answer = client.post("/api/v1/jobs", json={**JOB, **change})
    assert answer.status_code == 422
    assert field in [error["field"] for error in answer.json["errors"]]
    assert stored(database) == (0, 0)


def test_all_mistakes_of_a_request_are_reported_at_once(client: FlaskClient) -> None:
    answer = client.post("/api/v1/jobs", json={"prompts": ["x"], "width": 1, "seed": "no", "steps": 3})
    assert [error["field"] for error in answer.json["errors"]] == ["width", "seed", "steps"]


def test_very_many_mistakes_are_counted_and_not_listed(client: FlaskClient) -> None:
    answer = client.post("/api/v1/jobs", json={"prompts": [{"promt": "x"}] * 5_001})
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json["errors"]] == ["request"]
    assert answer.json["errors"][0]["message"].startswith("has 10,002 mistakes")


def test_too_many_images_are_refused(client: FlaskClient, database: Database) -> None:
    answer = client.post("/api/v1/jobs", json={"prompts": ["x"] * 11, "images_per_prompt": 10_000})
    assert answer.status_code == 422
    assert "110,000" in answer.json["errors"][0]["message"]
    assert stored(database) == (0, 0)


@pytest.mark.parametrize("body", [b"", b"{", b"prompts=x", b"\xff\xfe", b"[" * 100_000])
def test_a_body_that_is_not_json_is_a_bad_request(client: FlaskClient, database: Database, body: bytes) -> None:
    answer = client.post("/api/v1/jobs", data=body, content_type="application/json")
    assert answer.status_code == 400
    assert answer.mimetype == "application/problem+json"
    assert stored(database) == (0, 0)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b'{"prompts": ["a fox"],}', "line 1, column 23: expecting property name enclosed in double quotes"),
        (b'{"prompts":\n ["a fox",]}', "line 2, column 11: expecting value"),
        (b'{"prompts": ["a fox"]} x', "line 1, column 24: extra data"),
        (b'{"prompts": ["a fox\n"]}', "line 1, column 20: invalid control character at"),
        (b'{"prompts": ["\xff"]}', "byte 15 is not UTF-8"),
    ],
)
def test_a_body_that_is_not_json_is_refused_with_the_place(client: FlaskClient, body: bytes, why: str) -> None:
    answer = client.post("/api/v1/jobs", data=body, content_type="application/json")
    assert (answer.status_code, answer.json["detail"]) == (400, f"The body is not JSON: {why}.")


@pytest.mark.parametrize("body", ["null", "[]", '"text"', "7"])
def test_json_that_is_no_object_is_refused(client: FlaskClient, database: Database, body: str) -> None:
    answer = client.post("/api/v1/jobs", data=body, content_type="application/json")
    assert answer.status_code == 422
    assert stored(database) == (0, 0)


def test_a_form_sent_to_the_api_is_refused_as_not_json(client: FlaskClient) -> None:
    answer = client.post("/api/v1/jobs", data={"prompts": "x"})
    assert answer.status_code == 415
    assert "application/json" in answer.json["detail"]


def test_a_body_without_a_media_type_is_taken_for_json(client: FlaskClient) -> None:
    assert client.post("/api/v1/jobs", data='{"prompts": ["x"]}').status_code == 201


def test_a_body_beyond_the_limit_is_refused(client: FlaskClient, database: Database) -> None:
    answer = client.post("/api/v1/jobs", data=b" " * (32 * 2**20 + 1), content_type="application/json")
    assert answer.status_code == 413
    assert stored(database) == (0, 0)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"seed": True}, "seed"),
        ({"width": False}, "width"),
        ({"guidance_scale": True}, "guidance_scale"),
        ({"priority": True}, "priority"),
        ({"deterministic": "yes"}, "deterministic"),
        ({"deterministic": 1}, "deterministic"),
        ({"class": True}, "class"),
        ({"max_devices": True}, "max_devices"),
        ({"not_before": 1767225600}, "not_before"),
        ({"deadline": "1767225600000"}, "deadline"),
        ({"deadline": True}, "deadline"),
    ],
)
def test_a_value_of_another_json_type_is_not_converted(
    client: FlaskClient, change: dict[str, Any], field: str
) -> None:
    answer = client.post("/api/v1/jobs", json={**JOB, **change})
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json["errors"]] == [field]


@pytest.mark.parametrize("character", ["\n", "\r", "\t", "\x1b", "\x7f", "\x85", "\x9b", "\u2028"])
@pytest.mark.parametrize("field", ["name", "project"])
def test_a_name_with_line_breaks_or_control_characters_is_refused(
    client: FlaskClient, field: str, character: str
) -> None:
    answer = client.post("/api/v1/jobs", json={**JOB, field: f"spring{character}catalogue"})
    assert answer.status_code == 422
    assert "line breaks or control characters" in answer.json["errors"][0]["message"]


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("a\x1b[2Jb\u2028c", "a [2Jb c"),
        ("  first\r\nsecond", "first"),
        ("\t\r\n", "untitled"),
        ("x" * 99, "x" * 80),
    ],
)
def test_a_job_without_a_name_is_called_by_the_printable_start_of_its_prompt(
    client: FlaskClient, prompt: str, name: str
) -> None:
    assert client.post("/api/v1/jobs", json={"prompts": [prompt]}).json["name"] == name
