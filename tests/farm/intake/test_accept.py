"""The way of a request: one for the portal and the API, through each module once."""

import importlib
import re
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest
from flask.testing import FlaskClient

from farm.errors import IdempotencyConflict
from farm.intake import submit
from farm.intake.repeats import AcceptedJob
from farm.intake.request import parse_request
from farm.pictures.uploads import Desk
from tests.factories import Scene, a_checkpoint
from tests.fakes import MemoryStore
from tests.pictures import a_picture, encoded
from web.app import create_app

KEY = "0123456789abcdef"
PICTURE = encoded(a_picture())
BROUGHT = {"mode": "img2img", "prompts": ["a fox"], "seed": 1, "image": b64encode(PICTURE).decode()}
FORM = {"mode": "txt2img", "prompts": "a fox", "checkpoint": "demo", "seed": "1", "idempotency_key": KEY}

STEPS = tuple(re.findall(r"^(\d+)\. `(farm(?:\.\w+)+)\.(\w+)`", submit.__doc__ or "", re.MULTILINE))
MODULES = tuple(module for _, module, _ in STEPS)


@pytest.fixture(autouse=True)
def checkpoint(scene: Scene) -> int:
    return a_checkpoint(scene.database)


@pytest.fixture
def client(scene: Scene) -> Iterator[FlaskClient]:
    app = create_app(scene.settings)
    yield app.test_client()
    app.extensions["farm"].close()


@pytest.fixture
def accept(scene: Scene) -> Callable[..., AcceptedJob]:
    desk = Desk(scene.database, MemoryStore(), scene.settings, "local")

    def accept_one(key: str | None = KEY, **fields: Any) -> AcceptedJob:
        request = parse_request({**BROUGHT, **fields})
        return submit.accept(desk, scene.doorbell, request, idempotency_key=key)

    return accept_one


def stored_fingerprint(scene: Scene, job_id: int) -> object:
    return scene.scalar(f"SELECT request_sha256 FROM jobs WHERE id = {job_id}")


def send_form(client: FlaskClient, **fields: str) -> tuple[int, str]:
    answer = client.post("/submit", data={**FORM, **fields})
    return answer.status_code, answer.headers.get("Location", "")


def send_json(client: FlaskClient, **fields: Any) -> tuple[int, str]:
    job = {"prompts": ["a fox"], "checkpoint": "demo", "seed": 1, **fields}
    answer = client.post("/api/v1/jobs", json=job, headers={"Idempotency-Key": KEY})
    return answer.status_code, answer.headers.get("Location", "")


def test_a_fingerprint_is_that_of_the_request_with_its_pictures_as_they_were_sent(
    scene: Scene, accept: Callable[..., AcceptedJob]
) -> None:
    job_id = accept().job_id
    assert scene.job(job_id).request["image"] != BROUGHT["image"]
    assert stored_fingerprint(scene, job_id) == parse_request(BROUGHT).fingerprint


def test_a_repeat_by_key_is_the_same_job_although_it_brings_its_picture_again(
    accept: Callable[..., AcceptedJob],
) -> None:
    first, again = accept(), accept()
    assert (again.job_id, again.is_replay) == (first.job_id, True)


def test_a_repeat_by_key_with_another_body_is_refused(accept: Callable[..., AcceptedJob]) -> None:
    accept()
    with pytest.raises(IdempotencyConflict):
        accept(prompts=["a tree"])


@pytest.mark.parametrize("send", [send_form, send_json])
def test_a_portals_job_and_an_apis_are_stored_with_a_fingerprint(
    scene: Scene, client: FlaskClient, send: Callable[..., tuple[int, str]]
) -> None:
    _, location = send(client)
    job_id = int(location.rpartition("/")[2])
    assert stored_fingerprint(scene, job_id) == parse_request(scene.job(job_id).request).fingerprint


@pytest.mark.parametrize(("send", "other"), [(send_form, "a tree"), (send_json, ["a tree"])])
def test_a_key_with_another_body_is_a_conflict_in_the_portal_and_the_api(
    client: FlaskClient, send: Callable[..., tuple[int, str]], other: Any
) -> None:
    assert send(client)[0] in (201, 303)
    assert send(client, prompts=other)[0] == 409


def test_every_step_that_the_intake_lists_is_there() -> None:
    assert [int(number) for number, _, _ in STEPS] == list(range(2, 2 + len(STEPS)))
    assert all(callable(getattr(importlib.import_module(module), name)) for _, module, name in STEPS)


def test_no_module_of_the_way_is_entered_twice(accept: Callable[..., AcceptedJob]) -> None:
    with entries() as entered:
        accept(prompts=["a {red|green} fox"], axes=[{"field": "clip_skip", "values": [2]}])
    assert entered == list(MODULES)


@contextmanager
def entries() -> Iterator[list[str]]:
    """The modules of the way in the order in which a function of theirs is called from another module.

    What is called of an object that another step made enters nothing: it is data by then.
    """
    entered: list[str] = []
    # A generator is called anew for each thing that it yields.
    seen: list[FrameType] = []

    def notice(frame: FrameType, event: str, _: object) -> None:
        module = frame.f_globals.get("__name__", "")
        caller = frame.f_back.f_globals.get("__name__", "") if frame.f_back else ""
        # What a library calls back is called by the module that called the library.
        is_from_elsewhere = caller != module and caller.startswith(("farm.", "tests."))
        if event == "call" and module in MODULES and is_from_elsewhere and _opens(frame) and frame not in seen:
            seen.append(frame)
            entered.append(module)

    sys.setprofile(notice)
    try:
        yield entered
    finally:
        sys.setprofile(None)


def _opens(frame: FrameType) -> bool:
    """Whether a module-level function is called, or an object is made."""
    name = frame.f_code.co_qualname
    return "<locals>" not in name and ("." not in name or name.endswith((".__init__", ".of")))
