"""Every public address against random requests: good ones, broken ones, and sequences of both.

FARM_FUZZ_EXAMPLES says how many each address gets at random, FARM_FUZZ_SEED which; `make fuzz` sets both.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

import pytest
import schemathesis
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema
from schemathesis.engine.recorder import ScenarioRecorder

from farm import accounts
from farm.db.connection import Database
from farm.queue import steering
from tests.factories import Scene
from tests.pictures import a_picture, encoded
from tests.web.conftest import OpenPortal

EXAMPLES = int(os.environ.get("FARM_FUZZ_EXAMPLES", "10"))
JOBS = 22
SEED = int(os.environ.get("FARM_FUZZ_SEED", "1"))

CONFIG: Mapping[str, Any] = {
    "seed": SEED,
    "continue-on-failure": True,
    "suppress-health-check": ["all"],
    "generation": {"max-examples": EXAMPLES, "database": "none", "no-shrink": True},
    # A name that nobody would guess, and numbers that are seldom hit on.
    "dictionaries": {"workers": {"values": ["host/cpu"]}, "jobs": {"values": list(range(1, JOBS + 1))}},
    "parameters": {
        "body.worker": {"dictionary": "workers", "probability": 0.5},
        "path.job_id": {"dictionary": "jobs", "probability": 0.8},
    },
    "checks": {
        # DELETE cancels a job, and the job stays to be looked at.
        "use_after_free": {"enabled": False},
        # Its probes do not reach a WSGI application (schemathesis 4.32); a test below asks without a key instead.
        "ignored_auth": {"enabled": False},
    },
    # No description can tell what a picture is, or what only the farm knows: its checkpoints, its limits, the time.
    "operations": [
        {
            "include-name": "POST /api/v1/uploads",
            "checks": {"positive_data_acceptance": {"expected-statuses": ["2xx", "422"]}},
        },
        {
            "include-name": "POST /api/v1/jobs",
            "checks": {"positive_data_acceptance": {"expected-statuses": ["2xx", "409", "422"]}},
        },
    ],
}

PAGES = (
    *(
        "/",
        "/live",
        "/submit",
        "/workers",
        "/workers/live",
        "/checkpoints",
        "/docs",
        "/openapi.json",
        "/healthz",
        "/readyz",
    ),
    *("/jobs/{id}", "/jobs/{id}/live", "/jobs/{id}/priority"),
    *("/jobs/{id}/cancel", "/jobs/{id}/pause", "/jobs/{id}/resume", "/jobs/{id}/retry"),
    *("/files/{text}", "/static/{text}", "/docs/swagger/{text}", "/api/v1/{text}", "/{text}"),
)
FIELDS = (
    *("prompts", "negative_prompt", "checkpoint", "sampler", "num_inference_steps", "guidance_scale"),
    *("width", "height", "seed", "images_per_prompt", "name", "priority", "idempotency_key"),
    *("mode", "switch", "action", "image", "mask", "styles", "hires.scale", "x.field", "x.values", "from"),
    *("before", "after", "expires", "signature", "filename"),
)


# What the description calls a file is now and then a picture.
schemathesis.openapi.format("binary", st.sampled_from([encoded(a_picture()), b"no picture"]) | st.binary())


@dataclass(frozen=True)
class Finding:
    """What was tried: how many requests, which addresses answered one with success, and what was wrong."""

    requests: int
    reached: frozenset[str]
    failures: tuple[str, ...]


@pytest.fixture
def busy(scene: Scene) -> Scene:
    """A farm with a job that is half done, and many with a failed image: some go on, others are paused."""
    scene.submit(images_per_prompt=3)
    worker_id = scene.worker()
    finished, broken, *_ = scene.claim(worker_id)
    scene.publish(finished)
    scene.fail(broken, is_retryable=False)
    scene.release_dead(worker_id, log_tail="Segmentation fault")
    steering.pause(scene.database, 1)
    for _ in range(JOBS - 1):
        job_id = scene.submit(images_per_prompt=2)
        scene.fail(*scene.claim(worker_id, limit=1), is_retryable=False)
        steering.pause(scene.database, job_id)
    for job_id in range(1, JOBS + 1, 2):
        steering.resume(scene.database, scene.doorbell, job_id)
    return scene


def fuzz(app: Flask, *, headers: Mapping[str, str] = MappingProxyType({}), **options: Any) -> Finding:
    """Try all that /openapi.json describes: each part of it, random requests, and sequences of requests."""
    config = SchemathesisConfig.from_dict({**CONFIG, **options, "headers": dict(headers)})
    schema = schemathesis.openapi.from_wsgi("/openapi.json", app, config=config, headers=dict(headers))
    happened = list(from_schema(schema).execute())
    recorders = [event.recorder for event in happened if isinstance(event, events.ScenarioFinished)]
    errors = [str(event) for event in happened if isinstance(event, events.NonFatalError | events.FatalError)]
    return Finding(
        requests=sum(len(recorder.interactions) for recorder in recorders),
        reached=frozenset(label for recorder in recorders for label in reached(recorder)),
        failures=(*errors, *(failure for recorder in recorders for failure in failures(recorder))),
    )


def reached(recorder: ScenarioRecorder) -> set[str]:
    answered = {id: request for id, request in recorder.interactions.items() if request.response is not None}
    cases = [recorder.cases[id].value for id, request in answered.items() if request.response.status_code < 300]
    # The others ask for methods that the address does not know.
    return {case.operation.label for case in cases if case.method.upper() == case.operation.method.upper()}


def failures(recorder: ScenarioRecorder) -> list[str]:
    found = [check.failure_info for checks in recorder.checks.values() for check in checks]
    return [f"{info.failure}\n{info.code_sample}" for info in found if info is not None]


def operations(client: FlaskClient) -> set[str]:
    paths = client.application.api_doc["paths"]  # type: ignore[attr-defined]  # flask-openapi3's
    return {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}


@pytest.mark.usefixtures("busy")
def test_every_answer_is_as_described(open_portal: OpenPortal) -> None:
    portal = open_portal(max_images_per_job=100)
    finding = fuzz(portal.application)
    assert not finding.failures, "\n\n".join(finding.failures)
    assert finding.reached == operations(portal)


@pytest.mark.usefixtures("busy")
def test_every_answer_is_as_described_where_keys_are_needed(open_portal: OpenPortal, database: Database) -> None:
    with database.begin() as session:
        key = accounts.add_user(session, "mia")
    portal = open_portal(host="0.0.0.0", max_images_per_job=100)
    headers = {"Authorization": f"Bearer {key}"}
    finding = fuzz(portal.application, headers=headers, phases={"coverage": {"enabled": False}})
    assert not finding.failures, "\n\n".join(finding.failures)
    assert "POST /api/v1/jobs" in finding.reached


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer farm_00000000_nothing"}], ids=["none", "wrong"])
def test_no_address_answers_without_a_key(open_portal: OpenPortal, headers: dict[str, str]) -> None:
    portal = open_portal(host="0.0.0.0")
    requests = [operation.replace("{job_id}", "1").split() for operation in operations(portal)]
    answers = [portal.open(path, method=method, headers=headers) for method, path in requests]
    # Many wrong keys are slowed down.
    assert {answer.status_code for answer in answers} <= {401, 429}


def paths() -> st.SearchStrategy[str]:
    ids = st.integers(min_value=1, max_value=25) | st.sampled_from([-1, 0, 2**31, 2**63, 10**30])
    texts = st.text(max_size=30) | st.sampled_from(["../../etc/passwd", "%2e%2e/x", "portal.css", "js", "nul\0"])
    return st.builds(
        lambda page, id, text: page.format(id=id, text=quote(text)), st.sampled_from(PAGES), ids, texts
    )


def requests() -> st.SearchStrategy[dict[str, Any]]:
    """What Flask's client takes to send one."""
    values = (
        st.text(max_size=50) | st.integers().map(str) | st.sampled_from(["", "0123456789abcdef", "demo", "NaN"])
    )
    header_names = st.sampled_from(["Accept", "Authorization", "Content-Type", "Cookie", "Host", "Origin", "Range"])
    header_values = st.text(st.characters(max_codepoint=255, exclude_categories=["Cc"]), max_size=30)
    return st.fixed_dictionaries(
        {
            "path": paths(),
            "method": st.sampled_from(["GET", "GET", "POST", "POST", "HEAD", "PUT"]),
            "query_string": st.dictionaries(st.sampled_from(FIELDS), values, max_size=3),
            "headers": st.dictionaries(header_names, header_values, max_size=1),
            "data": st.dictionaries(st.sampled_from(FIELDS), values) | st.binary(max_size=50),
        }
    )


@pytest.mark.usefixtures("busy")
@seed(SEED)
@settings(max_examples=EXAMPLES * 50, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(request=requests())
def test_no_page_breaks(client: FlaskClient, request: dict[str, Any]) -> None:
    with client.open(**request) as answer:
        assert answer.status_code < 500
