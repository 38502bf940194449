"""Clients that send or read a byte a second: they cost connections, and nobody waits for them."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from socket import socket

import httpx
import pytest

from farm.config import Settings
from farm.db.connection import Database
from farm.store.protocol import Store
from tests.costs import Meter
from tests.portals import RunningPortal, run_portal

HEAD = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n"
BODY = b"POST /api/v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
PATIENCE_SECONDS = 3
CONNECTIONS = 64
QUICKLY = 2.0


@pytest.fixture
def portal(settings: Settings, database: Database) -> Iterator[RunningPortal]:
    """A portal with far fewer threads than it meets attackers."""
    with run_portal(
        settings,
        FARM_WEB_THREADS="4",
        FARM_WEB_CONNECTIONS=str(CONNECTIONS),
        FARM_REQUEST_SECONDS=str(PATIENCE_SECONDS),
    ) as portal:
        yield portal


def open_many(portal: RunningPortal, begin: bytes, count: int, **options: int) -> ExitStack:
    """Connections that have sent so much, in a context that closes them."""
    stack = ExitStack()
    stack.sockets = [stack.enter_context(portal.connect(begin, **options)) for _ in range(count)]  # type: ignore[attr-defined]
    return stack


def drip(portal: RunningPortal, sockets: Sequence[socket], byte: bytes, seconds: float) -> float:
    """Send a byte a second through each; return how long /healthz took at worst meanwhile."""
    worst, end = 0.0, time.monotonic() + seconds
    while time.monotonic() < end:
        for one in sockets:
            try:
                one.send(byte)
            except OSError:
                continue
        worst = max(worst, portal.seconds_to_answer())
        time.sleep(1)
    return worst


def ended(sockets: Sequence[socket]) -> int:
    """How many of them the portal has closed."""
    count = 0
    for one in sockets:
        one.settimeout(5)
        try:
            while one.recv(2**16):
                pass
            count += 1
        except ConnectionError:
            count += 1
        except TimeoutError:
            continue
    return count


@pytest.mark.parametrize(
    ("begin", "byte"),
    [
        (b"", b""),
        (b"", b"G"),
        (HEAD + b"X-Slow: ", b"x"),
        (BODY + b"Content-Length: 10000\r\n\r\n", b" "),
        (BODY + b"Content-Length: 1000000\r\n\r\n", b" "),
        (BODY + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
        (BODY + b"Expect: 100-continue\r\nContent-Length: 100\r\n\r\n", b""),
    ],
    ids=["nothing", "first line", "head", "small body", "large body", "chunks", "expecting"],
)
def test_requests_that_trickle_in_are_ended_and_hold_up_nobody(
    portal: RunningPortal, costs: Meter, begin: bytes, byte: bytes
) -> None:
    with costs.at_most(seconds=10, mebibytes=64, process=portal.process.pid):
        with open_many(portal, begin, CONNECTIONS - 4) as stack:
            assert drip(portal, stack.sockets, byte, PATIENCE_SECONDS + 2) < QUICKLY
            assert ended(stack.sockets) == CONNECTIONS - 4


def test_a_flood_of_half_sent_requests_pushes_out_itself(portal: RunningPortal, costs: Meter) -> None:
    with costs.at_most(seconds=10, mebibytes=64, process=portal.process.pid):
        with open_many(portal, HEAD, 10 * CONNECTIONS) as stack:
            assert portal.seconds_to_answer() < QUICKLY
            assert ended(stack.sockets[: 8 * CONNECTIONS]) == 8 * CONNECTIONS


def test_unread_answers_are_ended_and_hold_up_nobody(portal: RunningPortal, store: Store, costs: Meter) -> None:
    store.put("results/large.png", bytes(4 * 2**20), "image/png")
    link = store.link("results/large.png", seconds=600)
    request = f"GET {link} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    with costs.at_most(seconds=15, mebibytes=96, process=portal.process.pid):
        with open_many(portal, request, CONNECTIONS - 4, SO_RCVBUF=4096):
            assert drip(portal, [], b"", PATIENCE_SECONDS + 2) < QUICKLY
            wait_for_connections(portal, 2)


def wait_for_connections(portal: RunningPortal, most: int) -> None:
    """Until the portal's process has no more open; what it does not read on, a client is not told of."""
    end = time.monotonic() + 2 * PATIENCE_SECONDS
    while (count := connections(portal)) > most:
        assert time.monotonic() < end, f"{count} connections are still open"
        time.sleep(0.2)


def connections(portal: RunningPortal) -> int:
    """The sockets that the portal's process has to its clients."""
    own = {link.readlink().name for link in Path(f"/proc/{portal.process.pid}/fd").iterdir() if link.is_symlink()}
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    port = f":{portal.port:04X}"
    return sum(row[1].endswith(port) and row[3] != "0A" and f"socket:[{row[9]}]" in own for row in rows)


def test_an_honest_upload_over_a_slow_line_is_taken(portal: RunningPortal) -> None:
    body = b'{"prompts": ["x"]' + b" " * 200_000 + b"}"
    begin = BODY + f"Content-Length: {len(body)}\r\n\r\n".encode()
    with portal.connect(begin) as connection:
        # 40 kB a second: it takes longer than a request may in which nothing moves.
        for start in range(0, len(body), 20_000):
            connection.sendall(body[start : start + 20_000])
            time.sleep(0.5)
        assert connection.recv(4096).split()[1] in (b"201", b"422")


def test_a_request_that_is_refused_by_its_head_is_not_read(portal: RunningPortal) -> None:
    wrong = b"Authorization: Bearer nothing\r\nContent-Length: 30000000\r\n\r\n"
    with portal.connect(BODY + wrong) as connection:
        assert connection.recv(4096).split()[1] == b"401"


CHUNKED = b"POST /nowhere HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
HEADERS = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"a:\r\n" * 14_000


@pytest.mark.parametrize("sent", [CHUNKED + b"1\r\na\r\n" * 40_000, HEADERS], ids=["chunks", "headers"])
def test_requests_that_are_slow_to_parse_hold_up_nobody(portal: RunningPortal, costs: Meter, sent: bytes) -> None:
    with costs.at_most(seconds=20, mebibytes=100, process=portal.process.pid), ExitStack() as stack:
        for _ in range(16):
            connection = stack.enter_context(portal.connect())
            connection.setblocking(False)
            with suppress(BlockingIOError):
                connection.send(sent)
        assert portal.seconds_to_answer() < QUICKLY


def test_a_body_in_honest_chunks_is_read(portal: RunningPortal) -> None:
    lines = (b'{"prompts": ["a lighthouse"],\n', *[b" \n"] * 900, b'"pool": "nobody"}')
    answer = httpx.post(
        f"{portal.url}/api/v1/jobs", content=iter(lines), headers={"Content-Type": "application/json"}
    )
    # Read whole, and then refused by what it says.
    assert answer.status_code == 422


def test_a_connection_that_is_kept_answers_at_once(portal: RunningPortal) -> None:
    """Nagle's algorithm and delayed acknowledgements would make each answer wait for 40 ms."""
    with httpx.Client() as client:
        answers = [client.get(f"{portal.url}/healthz").elapsed.total_seconds() for _ in range(25)]
    assert min(answers[1:]) < 0.03


def test_bytes_that_are_no_http_fill_no_log(portal: RunningPortal) -> None:
    for _ in range(50):
        with portal.connect(b"\x16\x03\x01 not HTTP\r\n\r\n") as connection:
            connection.recv(100)
    assert 1 <= portal.stop().count("the bytes received are not HTTP") <= 10
