"""Requests that came through a proxy, or from another user of the machine: none passes for the owner."""

import os
import pwd
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import httpx
import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from farm import accounts, config
from farm.config import Settings
from farm.db.connection import Database
from farm.errors import ConfigError
from tests.factories import a_checkpoint
from tests.portals import RunningPortal, environment_of, free_port, run_portal, start
from tests.web.conftest import OpenPortal
from web.app import create_app
from web.guard.forwarded import Proxies
from web.guard.peers import find_uid

PROXY = "10.0.0.9"
JOB = {"prompts": ["x"]}
NOBODY = pwd.getpwnam("nobody").pw_uid
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture
def key(database: Database) -> str:
    with database.begin() as session:
        return accounts.add_user(session, "mia")


def ask(
    client: FlaskClient, headers: Mapping[str, str], peer: str = "127.0.0.1", path: str = "/api/v1/jobs"
) -> TestResponse:
    return client.get(path, headers=headers, environ_base={"REMOTE_ADDR": peer})


@pytest.mark.parametrize(
    "mark",
    [
        {"X-Forwarded-For": "203.0.113.5"},
        {"X-Forwarded-Host": "farm.example"},
        {"X-Forwarded-Proto": "https"},
        {"Forwarded": "for=203.0.113.5"},
        {"X-Real-IP": "203.0.113.5"},
        {"Via": "1.1 proxy"},
    ],
)
def test_a_forwarded_request_is_not_the_owners(client: FlaskClient, mark: dict[str, str]) -> None:
    answer = ask(client, {"Host": "127.0.0.1", **mark})
    assert answer.status_code == 403
    assert "FARM_TRUSTED_PROXIES=127.0.0.1" in answer.json["detail"]
    assert client.post("/submit", data=JOB, headers=mark).status_code == 403


def test_a_probe_may_come_through_a_proxy(client: FlaskClient) -> None:
    assert ask(client, {"Via": "1.1 proxy"}, path="/healthz").status_code == 200


def test_a_client_behind_a_trusted_proxy_needs_a_key(open_portal: OpenPortal, key: str) -> None:
    client = open_portal(trusted_proxies="127.0.0.1")
    assert ask(client, {"X-Forwarded-For": "203.0.113.5"}).status_code == 401
    assert ask(client, {}).status_code == 401
    assert ask(client, {"Authorization": f"Bearer {key}"}).status_code == 200


def test_a_portal_behind_a_proxy_needs_accounts(settings: Settings, database: Database) -> None:
    with start(environment_of(settings, free_port()) | {"FARM_TRUSTED_PROXIES": "127.0.0.1"}) as process:
        said = process.communicate(timeout=30)[1]
    assert process.returncode == 2
    assert "FARM_TRUSTED_PROXIES=127.0.0.1 opens the portal to a network" in said


@pytest.mark.parametrize(
    ("peer", "named", "client"),
    [
        (PROXY, "203.0.113.5", "203.0.113.5"),
        (PROXY, "1.1.1.1, 203.0.113.5, 10.0.0.8", "203.0.113.5"),
        (PROXY, "1.1.1.1, unknown", PROXY),
        (PROXY, "203.0.113.5:4711", "203.0.113.5"),
        (PROXY, "[2001:db8::5]:4711", "2001:db8::5"),
        (PROXY, "", PROXY),
        (f"::ffff:{PROXY}", "203.0.113.5", "203.0.113.5"),
        ("203.0.113.9", "203.0.113.5", "203.0.113.9"),
    ],
)
def test_the_client_is_the_last_that_is_no_trusted_proxy(peer: str, named: str, client: str) -> None:
    proxies = Proxies.of(Settings(trusted_proxies="10.0.0.0/8"))
    assert proxies.client_of({"REMOTE_ADDR": peer, "HTTP_X_FORWARDED_FOR": named}) == client


@pytest.fixture
def proxied(open_portal: OpenPortal, database: Database, key: str) -> FlaskClient:
    """A client of a portal that trusts PROXY, with a key."""
    a_checkpoint(database)
    client = open_portal(host="0.0.0.0", trusted_proxies=PROXY)
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {key}"
    return client


@pytest.mark.parametrize(
    ("origin", "peer", "status"),
    [
        ("https://farm.example", PROXY, 201),
        ("http://farm.example", PROXY, 403),
        ("https://evil.example", PROXY, 403),
        ("https://farm.example", "203.0.113.9", 403),
    ],
)
def test_the_portals_own_origin_is_the_one_that_a_trusted_proxy_reports(
    proxied: FlaskClient, origin: str, peer: str, status: int
) -> None:
    headers = {"Origin": origin, "X-Forwarded-Host": "farm.example", "X-Forwarded-Proto": "https"}
    answer = proxied.post("/api/v1/jobs", json=JOB, headers=headers, environ_overrides={"REMOTE_ADDR": peer})
    assert answer.status_code == status


@pytest.mark.parametrize("wrong", ["10.0.0.5/8", "proxy.example", "10.0.0.1;10.0.0.2"])
def test_a_trusted_proxy_that_is_no_address_is_refused(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FARM_TRUSTED_PROXIES", wrong)
    with pytest.raises(ConfigError, match=r"FARM_TRUSTED_PROXIES.*is no address and no network"):
        config.load_given()


@pytest.fixture
def portal(settings: Settings, database: Database) -> Iterator[RunningPortal]:
    with run_portal(settings) as portal:
        yield portal


@contextmanager
def another_user() -> Iterator[None]:
    """Sockets that are made meanwhile belong to `nobody`."""
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def ask_as_another(portal: RunningPortal, path: str) -> str:
    """What the portal answers to another user of this machine."""
    with another_user():
        connection = portal.connect(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    with connection, connection.makefile("rb") as answer:
        return answer.read().decode()


@needs_root
def test_another_user_of_the_machine_is_not_the_owner(portal: RunningPortal) -> None:
    refusal = ask_as_another(portal, "/api/v1/jobs")
    assert refusal.startswith("HTTP/1.1 401 ")
    assert f"you are the user with the id {NOBODY} on this machine. FARM_LOCAL_USERS" in refusal
    assert ask_as_another(portal, "/").startswith("HTTP/1.1 401 ")
    assert ask_as_another(portal, "/healthz").startswith("HTTP/1.1 200 ")
    assert portal.seconds_to_answer("/api/v1/jobs") < 10


@needs_root
def test_another_user_who_hangs_up_at_once_is_not_the_owner(
    portal: RunningPortal, settings: Settings, database: Database
) -> None:
    """The kernel shows a socket that was closed as root's."""
    body = b'{"prompts": ["x"]}'
    head = b"POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    a_checkpoint(database)
    for _ in range(20):
        with another_user():
            portal.connect(head + b"Content-Length: 18\r\n\r\n" + body).close()
    time.sleep(1)
    assert httpx.get(f"{portal.url}/api/v1/jobs").json()["jobs"] == []


@needs_root
@pytest.mark.parametrize("users", ["nobody", str(NOBODY), "root, nobody", "*"])
def test_other_local_users_may_be_admitted_by_name(settings: Settings, database: Database, users: str) -> None:
    with run_portal(settings, FARM_LOCAL_USERS=users) as portal:
        assert ask_as_another(portal, "/api/v1/jobs").startswith("HTTP/1.1 200 ")


def test_an_unknown_local_user_is_named_in_the_refusal(settings: Settings) -> None:
    with pytest.raises(ConfigError, match="FARM_LOCAL_USERS: there is no user 'nobody-here'"):
        create_app(settings.model_copy(update={"local_users": "nobody-here"}))


def test_a_socket_that_its_process_has_closed_belongs_to_no_user() -> None:
    row = "  0: 0100007F:{} 0100007F:20E4 04 00000000:00000000 00:00000000 00000000  {:>4}        0 {} 1\n"
    table = "header\n" + row.format("9C40", 0, 0) + row.format("9C41", 1000, 4711)
    assert find_uid(table, (("127.0.0.1", 0x9C40), ("127.0.0.1", 8420))) is None
    assert find_uid(table, (("127.0.0.1", 0x9C41), ("127.0.0.1", 8420))) == 1000


def test_an_ipv6_socket_that_speaks_ipv4_is_found() -> None:
    mapped = "0000000000000000FFFF00000100007F"
    table = f"header\n  0: {mapped}:9C40 {mapped}:20E4 01 0:0 0:0 0  1000  0 4711 1\n"
    assert find_uid(table, (("127.0.0.1", 0x9C40), ("127.0.0.1", 8420))) == 1000
