"""Foreign pages, foreign names, and who may ask."""

import base64

import pytest
from flask.testing import FlaskClient

from farm import accounts
from farm.db.connection import Database
from tests.factories import a_checkpoint
from tests.web.conftest import OpenPortal

JOB = {"prompts": ["x"]}


@pytest.fixture
def open_to_all(open_portal: OpenPortal, database: Database) -> FlaskClient:
    """A client of a portal that listens to the network."""
    a_checkpoint(database)
    return open_portal(host="0.0.0.0")


@pytest.fixture
def key(database: Database) -> str:
    with database.begin() as session:
        return accounts.add_user(session, "mia")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "http://localhost:9999"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_another_site_cannot_change_anything(client: FlaskClient, headers: dict[str, str]) -> None:
    assert client.post("/api/v1/jobs", json=JOB, headers=headers).status_code == 403
    assert client.post("/submit", data=JOB, headers=headers).status_code == 403
    assert client.get("/api/v1/jobs").json["jobs"] == []


def test_the_portals_own_pages_can_change_things(client: FlaskClient) -> None:
    headers = {"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}
    assert client.post("/api/v1/jobs", json=JOB, headers=headers).status_code == 201


@pytest.mark.parametrize(
    "host", ["rebound.example", "rebound.example:8420", "10.0.0.5", "[::1", "localhost.evil.example"]
)
def test_a_foreign_host_name_is_refused_on_loopback(client: FlaskClient, host: str) -> None:
    assert client.get("/api/v1/jobs", headers={"Host": host}).status_code == 400


@pytest.mark.parametrize("host", ["localhost:8420", "127.0.0.1:8420", "[::1]:8420", "LOCALHOST"])
def test_the_names_of_this_machine_are_answered(client: FlaskClient, host: str) -> None:
    assert client.get("/api/v1/jobs", headers={"Host": host}).status_code == 200


def test_pages_run_no_foreign_scripts_and_stand_in_no_foreign_frame(client: FlaskClient) -> None:
    headers = client.get("/").headers
    assert "default-src 'self'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"


def test_a_key_is_needed_off_loopback(open_to_all: FlaskClient) -> None:
    answer = open_to_all.post("/api/v1/jobs", json=JOB)
    assert answer.status_code == 401
    assert answer.mimetype == "application/problem+json"
    assert answer.headers["WWW-Authenticate"].startswith("Basic")


@pytest.mark.parametrize("path", ["/", "/submit", "/workers", "/docs", "/openapi.json", "/api/v1/stats"])
def test_no_page_is_open_off_loopback(open_to_all: FlaskClient, path: str) -> None:
    assert open_to_all.get(path).status_code == 401


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/static/portal.css"])
def test_probes_and_the_style_sheet_need_no_key(open_to_all: FlaskClient, path: str) -> None:
    with open_to_all.get(path) as answer:
        assert answer.status_code == 200


def test_a_signed_link_needs_no_key(open_to_all: FlaskClient) -> None:
    assert open_to_all.get("/files/results/1.png").status_code == 403


def test_a_job_belongs_to_the_user_of_the_key(open_to_all: FlaskClient, key: str) -> None:
    answer = open_to_all.post("/api/v1/jobs", json=JOB, headers={"Authorization": f"Bearer {key}"})
    assert answer.json["owner"] == "mia"


def test_a_browser_sends_the_key_as_its_password(open_to_all: FlaskClient, key: str) -> None:
    basic = base64.b64encode(f"anyone:{key}".encode()).decode()
    assert open_to_all.get("/", headers={"Authorization": f"Basic {basic}"}).status_code == 200


@pytest.mark.parametrize("change", ["x", "", "\x7f"])
def test_a_key_that_differs_is_refused(open_to_all: FlaskClient, key: str, change: str) -> None:
    headers = {"Authorization": f"Bearer {key[:-1]}{change}"}
    assert open_to_all.get("/api/v1/jobs", headers=headers).status_code == 401


def test_a_wrong_key_is_refused_on_loopback_too(client: FlaskClient) -> None:
    headers = {"Authorization": "Bearer farm_00000000_nothing"}
    assert client.get("/api/v1/jobs", headers=headers).status_code == 401


def test_only_a_hash_of_the_key_is_kept(database: Database, key: str) -> None:
    with database.begin() as session:
        assert accounts.has_accounts(session)
        assert accounts.user_of_key(session, key) == "mia"
        assert accounts.user_of_key(session, "no key at all") is None


def test_a_farm_without_keys_has_no_accounts(database: Database) -> None:
    with database.begin() as session:
        assert not accounts.has_accounts(session)
