"""How much a request may carry."""

from io import BytesIO, RawIOBase

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.web.conftest import OpenPortal
from web.guard.limits import MAX_BODY_BYTES, MAX_FORM_FIELDS, MAX_FORM_TEXT_BYTES, MAX_JOB_BYTES

JOB = b'{"prompts": ["x"]}'


class Unread(RawIOBase):
    """A body that must not be read."""

    def readinto(self, _buffer: object) -> int:
        raise AssertionError("somebody read the body")


def post_chunked(client: FlaskClient, path: str, body: bytes) -> TestResponse:
    """Send a body whose length is told nowhere, as servers hand one over that came in chunks."""
    return client.post(
        path,
        input_stream=BytesIO(body),
        headers={"Transfer-Encoding": "chunked", "Content-Type": "application/json"},
        environ_overrides={"wsgi.input_terminated": True},
    )


def declare(
    client: FlaskClient, path: str, length: int, method: str = "POST", content_type: str = ""
) -> TestResponse:
    """Announce a body of this length, without sending it."""
    announced = {"CONTENT_LENGTH": str(length), "CONTENT_TYPE": content_type, "wsgi.input": Unread()}
    return client.open(path, method=method, environ_overrides=announced)


def test_a_body_that_is_too_large_is_refused_unread_and_the_limit_is_named(client: FlaskClient) -> None:
    answer = declare(client, "/api/v1/jobs/1/cancel", MAX_BODY_BYTES + 1)
    assert answer.status_code == 413
    assert answer.mimetype == "application/problem+json"
    assert "16,384 bytes" in answer.json["detail"]


def test_jobs_may_be_large_but_not_without_limit(client: FlaskClient) -> None:
    answer = declare(client, "/api/v1/jobs", MAX_JOB_BYTES + 1)
    assert answer.status_code == 413
    assert "33,554,432 bytes" in answer.text


def test_a_form_has_room_for_two_pictures(open_portal: OpenPortal) -> None:
    portal = open_portal(max_upload_bytes=2**26)
    answer = declare(portal, "/submit", 2**27 + MAX_FORM_TEXT_BYTES + 1, content_type="multipart/form-data")
    assert answer.status_code == 413
    assert "135,266,304 bytes" in answer.text


def test_only_submitting_and_uploading_take_large_bodies(client: FlaskClient) -> None:
    rules = [rule.rule for rule in client.application.url_map.iter_rules() if "POST" in (rule.methods or ())]
    paths = {rule.replace("<int:job_id>", "1").split("<")[0] for rule in rules}
    larger = {path for path in paths if client.post(path, data=b" " * (MAX_BODY_BYTES + 1)).status_code != 413}
    assert larger == {"/api/v1/jobs", "/api/v1/uploads", "/submit"}


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE", "PUT", "OPTIONS"])
def test_the_limit_holds_for_every_method(client: FlaskClient, method: str) -> None:
    assert declare(client, "/api/v1/jobs/1", MAX_BODY_BYTES + 1, method).status_code == 413


@pytest.mark.parametrize("path", ["/", "/nothing", "/files/x", "/static/portal.css"])
def test_the_limit_holds_everywhere(client: FlaskClient, path: str) -> None:
    with declare(client, path, MAX_BODY_BYTES + 1) as answer:
        assert answer.status_code == 413


def test_a_job_that_comes_in_chunks_is_accepted(client: FlaskClient) -> None:
    assert post_chunked(client, "/api/v1/jobs", JOB).status_code == 201


@pytest.mark.parametrize(
    ("path", "limit"), [("/api/v1/jobs", MAX_JOB_BYTES), ("/api/v1/jobs/1/cancel", MAX_BODY_BYTES)]
)
def test_chunks_that_add_up_to_too_much_are_refused(client: FlaskClient, path: str, limit: int) -> None:
    answer = post_chunked(client, path, JOB + b" " * (limit + 1 - len(JOB)))
    assert answer.status_code == 413
    assert f"{limit:,} bytes" in answer.json["detail"]


def test_chunks_that_just_fit_are_accepted(client: FlaskClient) -> None:
    assert post_chunked(client, "/api/v1/jobs", JOB + b" " * (MAX_JOB_BYTES - len(JOB))).status_code == 201


def test_a_form_may_not_have_countless_fields(client: FlaskClient) -> None:
    answer = client.post("/submit", data={f"field{number}": "x" for number in range(MAX_FORM_FIELDS + 1)})
    assert answer.status_code == 413
    assert f"{MAX_FORM_FIELDS} fields" in answer.text


def test_a_form_in_parts_is_refused_where_no_file_is_taken(client: FlaskClient) -> None:
    answer = client.post("/jobs/1/priority", data={"priority": (BytesIO(b"x"), "../../prompts.txt")})
    assert answer.status_code == 415
    assert "application/x-www-form-urlencoded" in answer.text
