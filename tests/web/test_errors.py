"""Errors as problem documents and as pages, and the state of the parts."""

import errno
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from sqlalchemy import text

from farm.db.connection import Database
from farm.store.disk import DiskStore
from farm.weights import checkpoints
from tests.factories import a_checkpoint
from tests.pictures import a_picture, encoded
from tests.waiting import wait_until
from tests.web.conftest import OpenPortal

DEAD_DATABASE = "postgresql://farm:hunter2@/farm?host=/nowhere/at-all"
JOB = {"prompts": ["x"] * 100}
DEAD_REDIS = "unix:///nowhere/redis.sock?db=0"


def test_an_unknown_address_of_the_api_is_a_problem(client: FlaskClient) -> None:
    answer = client.get("/api/v1/nothing")
    assert answer.status_code == 404
    assert answer.mimetype == "application/problem+json"
    assert set(answer.json) == {"type", "title", "status", "detail"}


def test_a_wrong_method_is_a_problem_that_names_the_right_ones(client: FlaskClient) -> None:
    answer = client.put("/api/v1/jobs")
    assert answer.status_code == 405
    assert "POST" in answer.headers["Allow"]


def test_an_unknown_page_is_answered_with_a_page(client: FlaskClient) -> None:
    answer = client.get("/nothing")
    assert answer.status_code == 404
    assert answer.mimetype == "text/html"
    assert "To the jobs" in answer.text


@pytest.mark.parametrize("path", ["/api/v1/jobs", "/"])
def test_every_answer_without_the_database_asks_to_come_back(open_portal: OpenPortal, path: str) -> None:
    answer = open_portal(database_url=DEAD_DATABASE).get(path)
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "5"
    assert "nowhere" not in answer.text
    assert "hunter2" not in answer.text


def test_an_unforeseen_error_is_reported_without_its_details(
    open_portal: OpenPortal, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = open_portal()
    monkeypatch.delitem(client.application.extensions, "farm")
    answer = client.get("/api/v1/stats")
    assert answer.status_code == 500
    assert "Traceback" not in answer.text
    assert "KeyError" not in answer.text


def test_a_whole_farm_is_ready(client: FlaskClient) -> None:
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json["status"] == "ready"
    assert set(answer.json["parts"].values()) == {"ok"}


def test_a_portal_without_redis_is_degraded_but_works(open_portal: OpenPortal) -> None:
    client = open_portal(redis_url=DEAD_REDIS)
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json["status"]) == (200, "degraded")
    assert answer.json["parts"]["redis"] == "does not answer"


def test_jobs_are_accepted_and_shown_without_redis(open_portal: OpenPortal, client: FlaskClient) -> None:
    portal = open_portal(redis_url=DEAD_REDIS)
    answer = portal.post("/api/v1/jobs", json={"prompts": ["x"]})
    assert answer.status_code == 201
    assert portal.get(f"/jobs/{answer.json['id']}").status_code == 200


def test_a_portal_without_the_database_lives_but_is_not_ready(open_portal: OpenPortal) -> None:
    client = open_portal(database_url=DEAD_DATABASE)
    assert client.get("/healthz").status_code == 200
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert {name for name, state in answer.json["parts"].items() if state != "ok"} == {"database"}


def test_a_portal_that_could_never_ring_is_not_ready(
    open_portal: OpenPortal, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As where the package was installed without what Celery needs for Redis.
    monkeypatch.setitem(sys.modules, "kombu.transport.redis", None)
    monkeypatch.setattr("kombu.transport._transport_cache", {})
    answer = open_portal().get("/readyz")
    assert answer.status_code == 503
    assert answer.json["parts"]["bell"] == "cannot ring: see the log"


def test_a_portal_that_awaits_a_checkpoint_is_ready_once_there_is_one(
    open_portal: OpenPortal, database: Database
) -> None:
    client = open_portal(await_checkpoint=True)
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json["parts"]["checkpoint"]) == (503, "the first is being taken in")
    assert client.get("/healthz").status_code == 200
    a_checkpoint(database)
    assert client.get("/readyz").status_code == 200


def test_a_portal_that_was_ready_stays_so_when_the_last_checkpoint_is_removed(
    open_portal: OpenPortal, database: Database
) -> None:
    client = open_portal(await_checkpoint=True)
    a_checkpoint(database)
    assert client.get("/readyz").status_code == 200
    with database.begin() as session:
        checkpoints.remove(session, "demo")
    assert client.get("/readyz").status_code == 200


def test_a_portal_without_its_store_is_not_ready(open_portal: OpenPortal, tmp_path: Path) -> None:
    blocked = tmp_path / "a-file"
    blocked.touch()
    answer = open_portal(store_url=f"file://{blocked}/store").get("/readyz")
    assert answer.status_code == 503
    assert answer.json["parts"]["store"] == "does not answer"
    assert str(tmp_path) not in answer.text


def test_a_failing_store_is_reported_without_its_folder(client: FlaskClient, store: DiskStore) -> None:
    link = store.link("results", seconds=60)
    store.put("results/1.png", b"x", "image/png")
    answer = client.get(link)
    assert answer.status_code == 503
    assert "results" not in answer.text


def test_a_store_that_refuses_the_farm_is_reported_as_such(
    client: FlaskClient, store: DiskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied", "/srv/secret")

    store.put("results/1.png", b"x", "image/png")
    monkeypatch.setattr(Path, "open", refuse)
    answer = client.get(store.link("results/1.png", seconds=60))
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert "refuses this farm" in answer.text
    assert "secret" not in answer.text


@pytest.mark.parametrize("table", ["jobs", "tasks"])
@pytest.mark.parametrize(
    ("sqlstate", "kind"),
    [
        ("53100", "database-full"),
        ("25006", "database-read-only"),
        ("57P01", "database-unavailable"),
        ("53200", "database-unavailable"),
        ("XX000", "database-unavailable"),
    ],
)
def test_a_job_that_the_database_cannot_take_now_is_refused_with_the_reason(
    client: FlaskClient, database: Database, table: str, sqlstate: str, kind: str
) -> None:
    with fails_on_insert(database, table, sqlstate):
        answer = client.post("/api/v1/jobs", json=JOB)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert answer.json["type"] == f"urn:farm:problem:{kind}"
    assert "hunter2" not in answer.text
    assert client.get("/api/v1/jobs").json["jobs"] == []


@contextmanager
def fails_on_insert(database: Database, table: str, sqlstate: str) -> Iterator[None]:
    """Postgres itself refuses each row of the table meanwhile, as it does when its disk is full."""
    failing = f"BEGIN RAISE EXCEPTION 'could not extend /srv/hunter2' USING ERRCODE = '{sqlstate}'; END"
    with database.begin() as session:
        session.execute(text(f"CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ {failing} $$"))
        session.execute(text(f"CREATE TRIGGER failing BEFORE INSERT ON {table} EXECUTE FUNCTION fail()"))
    try:
        yield
    finally:
        with database.begin() as session:
            session.execute(text("DROP FUNCTION fail CASCADE"))


def test_a_job_whose_database_vanishes_while_it_is_stored_is_refused(
    client: FlaskClient, database: Database
) -> None:
    with database.begin() as session, ThreadPoolExecutor(1) as sender:
        session.execute(text("LOCK TABLE tasks IN SHARE MODE"))
        sent = sender.submit(client.post, "/api/v1/jobs", json=JOB)
        wait_until(lambda: end_sessions(database, "COPY tasks%"), seconds=20)
        answer = sent.result()
    assert (answer.status_code, answer.json["type"]) == (503, "urn:farm:problem:database-unavailable")
    assert client.post("/api/v1/jobs", json=JOB).status_code == 201


def end_sessions(database: Database, statement: str) -> int:
    """End those that wait in such a statement, as a server that goes down does; return how many."""
    waiting = "FROM pg_stat_activity WHERE query LIKE :statement AND wait_event_type = 'Lock'"
    with database.begin() as session:
        return len(
            session.execute(text(f"SELECT pg_terminate_backend(pid) {waiting}"), {"statement": statement}).all()
        )


def test_a_full_store_is_reported(client: FlaskClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    answer = client.post("/api/v1/uploads", data=encoded(a_picture()), content_type="image/png")
    assert (answer.status_code, answer.json["type"]) == (503, "urn:farm:problem:store-full")
