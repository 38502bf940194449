"""Sending the submit form, and reading the page that comes back."""

import re
from html import unescape
from io import BytesIO
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.pictures import a_picture, encoded

KEY = "0123456789abcdef"


def key_of(page: str) -> str:
    return value_of(page, "idempotency_key")


def value_of(page: str, name: str) -> str:
    """What an input of the page holds."""
    found = re.search(rf'<input[^>]*name="{re.escape(name)}"[^>]*value="([^"]*)"', page)
    assert found is not None, name
    return unescape(found[1])


def marked(page: str) -> dict[str, str]:
    """The first message beside each field that is marked as wrong."""
    return {name: unescape(text) for name, text in re.findall(r'id="([^"]+)-problem-1">([^<]*)<', page)}


def a_file(width: int = 96, height: int = 64, name: str = "picture.png") -> tuple[BytesIO, str]:
    return BytesIO(encoded(a_picture(width, height))), name


def send(client: FlaskClient, mode: str, /, **fields: Any) -> TestResponse:
    """Send the form of a mode as a browser does, files and all."""
    data = {"mode": mode, "prompts": "a fox", "checkpoint": "demo", "seed": "1", "idempotency_key": KEY, **fields}
    return client.post("/submit", data=data, content_type="multipart/form-data")


def first_spec(client: FlaskClient) -> dict[str, Any]:
    spec: dict[str, Any] = client.get("/api/v1/jobs/1/tasks").json["tasks"][0]["spec"]
    return spec


def no_jobs(client: FlaskClient) -> bool:
    jobs: list[Any] = client.get("/api/v1/jobs").json["jobs"]
    return jobs == []
