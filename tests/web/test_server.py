"""Starting and stopping the portal's process."""

import json
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Iterator

import httpx
import pytest

from farm import accounts
from farm.config import Settings
from farm.db.connection import Database
from tests.portals import RunningPortal, environment_of, free_port, run_portal, start, wait_until_ready
from web.server import connections_for_files, warn_of_few


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def environment(settings: Settings, database: Database, port: int) -> dict[str, str]:
    """What makes `python -m web` serve the test's own farm."""
    return environment_of(settings, port)


def give_up(environment: dict[str, str]) -> tuple[int, str]:
    """Start a portal that must not stay; return its exit status and what it said."""
    with start(environment) as process:
        said = process.communicate(timeout=30)[1]
        return process.returncode, said


@pytest.fixture
def portal(environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    with start(environment) as process:
        yield process
        process.kill()


@pytest.fixture
def running_portal(settings: Settings, database: Database) -> Iterator[RunningPortal]:
    with run_portal(settings) as portal:
        yield portal


def test_the_portal_serves_until_a_signal_stops_it(portal: subprocess.Popen[str], port: int) -> None:
    assert wait_until_ready(f"http://127.0.0.1:{port}").json()["status"] == "ready"
    portal.send_signal(signal.SIGTERM)
    assert portal.wait(timeout=15) == 0
    assert portal.stderr is not None
    assert "Traceback" not in portal.stderr.read()


def test_a_port_in_use_is_reported_in_one_line(environment: dict[str, str], port: int) -> None:
    with socket.create_server(("127.0.0.1", port)):
        status, said = give_up(environment)
    assert status == 1
    assert (
        said == f"Port {port} on 127.0.0.1 is in use. Stop the program that uses it, or set FARM_PORT to another.\n"
    )


def test_a_portal_without_accounts_does_not_open_to_a_network(environment: dict[str, str]) -> None:
    status, said = give_up({**environment, "FARM_HOST": "0.0.0.0"})
    assert status == 2
    assert "farm users add NAME" in said


def test_a_portal_that_cannot_look_up_accounts_does_not_open_to_a_network(
    environment: dict[str, str],
) -> None:
    dead = "postgresql://farm:hunter2@/farm?host=/nowhere"
    status, said = give_up({**environment, "FARM_HOST": "0.0.0.0", "FARM_DATABASE_URL": dead})
    assert status == 2
    assert "hunter2" not in said


def test_a_portal_with_an_account_opens_to_a_network(
    environment: dict[str, str], database: Database, port: int
) -> None:
    with database.begin() as session:
        accounts.add_user(session, "mia")
    with start({**environment, "FARM_HOST": "0.0.0.0"}) as portal:
        assert wait_until_ready(f"http://127.0.0.1:{port}").status_code == 200
        assert httpx.get(f"http://127.0.0.1:{port}/").status_code == 401
        portal.terminate()


def test_a_setting_that_is_wrong_is_named(environment: dict[str, str]) -> None:
    status, said = give_up({**environment, "FARM_WEB_THREADS": "none"})
    assert status == 2
    assert "FARM_WEB_THREADS" in said


def test_a_setting_that_is_missing_is_named(environment: dict[str, str]) -> None:
    status, said = give_up({name: value for name, value in environment.items() if name != "FARM_SECRET_KEY"})
    assert status == 2
    assert "FARM_SECRET_KEY" in said


def talk(port: int, request: bytes) -> str:
    """Send these bytes to the portal as they are, and return the status that it answers."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request)
        return connection.recv(4096).split()[1].decode()


GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST /api/v1/jobs/1/cancel HTTP/1.1\r\nHost: localhost\r\n"


def test_a_request_that_is_too_large_is_refused_before_its_rest_arrives(
    portal: subprocess.Popen[str], port: int
) -> None:
    wait_until_ready(f"http://127.0.0.1:{port}")
    assert talk(port, GET.replace(b"/", b"/" + b"x" * 5_000, 1)) == "414"
    assert talk(port, GET + b"X: " + b"x" * 9_000 + b"\r\n\r\n") == "431"
    assert talk(port, GET + b"X: x\r\n" * 101 + b"\r\n") == "431"
    assert talk(port, POST + b"Content-Length: 1000000\r\n\r\n") == "413"
    assert talk(port, POST + b"Transfer-Encoding: chunked\r\n\r\n4001\r\n" + b"x" * 0x4001) == "413"


def test_a_request_that_is_no_http_is_logged_in_the_farms_format(environment: dict[str, str], port: int) -> None:
    with start({**environment, "FARM_LOG_FORMAT": "json"}) as portal:
        wait_until_ready(f"http://127.0.0.1:{port}")
        assert talk(port, GET + b"Bad\x1b[2J\r\n\r\n") == "400"
        portal.terminate()
        said = [json.loads(line) for line in portal.communicate(timeout=15)[1].splitlines()]
    assert "Invalid request" in said[-1]["event"]


def test_a_request_under_way_is_answered_although_the_portal_stops(
    portal: subprocess.Popen[str], port: int
) -> None:
    wait_until_ready(f"http://127.0.0.1:{port}")
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(POST + b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{")
        wait_until_refused(port, portal)
        connection.sendall(b"}")
        assert connection.recv(4096).split()[1] == b"404"
    assert portal.wait(timeout=10) == 0


def wait_until_refused(port: int, portal: subprocess.Popen[str]) -> None:
    """Tell the portal to stop, and wait until it takes no more connections."""
    portal.terminate()
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            return
        time.sleep(0.05)
    raise TimeoutError("the portal still listens")


def test_a_stop_takes_no_more_than_ten_seconds_whatever_is_open(settings: Settings, database: Database) -> None:
    with run_portal(settings, FARM_REQUEST_SECONDS="60") as portal:
        half_sent = [portal.connect(POST + b"Content-Length: 9\r\n\r\nx") for _ in range(20)]
        portal.process.terminate()
        assert portal.process.wait(timeout=10) == 0
        [connection.close() for connection in half_sent]


@pytest.mark.parametrize(
    "ambiguous",
    [
        b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"Content-Length: +2\r\n\r\n{}",
        b"Content-Length : 2\r\n\r\n{}",
        b"Host: other\r\n\r\n",
    ],
)
def test_a_request_of_ambiguous_length_is_refused(running_portal: RunningPortal, ambiguous: bytes) -> None:
    with running_portal.connect(POST + ambiguous) as connection:
        said = connection.recv(4096)
        assert said.split()[1] in (b"400", b"501")
        assert b"connection: close" in said.lower()


def test_a_request_that_the_server_refuses_is_answered_with_a_problem_document(
    running_portal: RunningPortal,
) -> None:
    answer = httpx.get(f"{running_portal.url}/api/v1/jobs", params={"status": "x" * 5_000})
    assert (answer.status_code, answer.headers["content-type"]) == (414, "application/problem+json")
    assert answer.json()["detail"] == "The address is longer than 4,096 bytes."


def test_a_client_that_expects_100_continue_gets_it_or_a_refusal(running_portal: RunningPortal) -> None:
    asking = b"Content-Type: application/json\r\nExpect: 100-continue\r\n"
    with running_portal.connect(POST + asking + b"Content-Length: 2\r\n\r\n") as connection:
        assert connection.recv(4096).startswith(b"HTTP/1.1 100 ")
        connection.sendall(b"{}")
        assert connection.recv(4096).split()[1] == b"404"
    with running_portal.connect(POST + asking + b"Content-Length: 1000000\r\n\r\n") as connection:
        assert connection.recv(4096).split()[1] == b"413"


def test_an_answer_reaches_a_client_that_still_sends(running_portal: RunningPortal) -> None:
    answer = httpx.post(f"{running_portal.url}/api/v1/jobs/1/cancel", content=b"x" * 1_000_000)
    assert answer.status_code == 413


def test_a_connection_serves_one_request_after_another(running_portal: RunningPortal) -> None:
    both = b"".join(b"%s /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" % method for method in (b"GET", b"HEAD"))
    with running_portal.connect(both) as connection:
        said = b""
        while said.count(b"HTTP/1.1 200 OK") < 2:
            said += connection.recv(4096)
    assert said.count(b'"status"') == 1


@pytest.mark.parametrize(("files", "connections"), [(0, 1), (256, 28), (598, 199)])
def test_a_portal_that_may_open_few_files_says_how_many_connections_it_takes(files: int, connections: int) -> None:
    assert connections_for_files(files) == connections
    said = warn_of_few(connections, files) or ""
    assert f"at most {connections} connections" in said
    assert f"no more than {files} files" in said
    assert "open files to 600 or more" in said


@pytest.mark.parametrize("files", [600, 1024, 8392, None])
def test_a_portal_that_may_open_enough_files_says_nothing_of_them(files: int | None) -> None:
    assert warn_of_few(connections_for_files(files), files or 0) is None


def test_a_portal_with_a_low_hard_limit_warns_when_it_starts(environment: dict[str, str], port: int) -> None:
    with start(environment) as process:
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (256, 256))
        wait_until_ready(f"http://127.0.0.1:{port}")
        process.kill()
        assert "at most 28 connections" in process.communicate(timeout=15)[1]
