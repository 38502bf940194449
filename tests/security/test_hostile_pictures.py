"""Pictures that are small files and take a decoder long, or down: nobody else waits for them, and nothing ends."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from farm.config import Settings
from farm.db.connection import Database
from farm.errors import Busy, InvalidRequest
from farm.pictures import decoderqueue
from farm.pictures.clean import PictureLimits, clean
from farm.pictures.decoderpool import DECODERS
from farm.pictures.decoderqueue import QueuedPicture, choose_next, is_over_limit
from farm.pictures.sizes import estimate_cost
from farm.processes import programs
from farm.processes.kernel import probe
from farm.spec.budget import for_pictures
from tests.costs import Meter
from tests.pictures import FORMATS, a_picture, encoded
from tests.portals import run_portal
from tests.waiting import wait_until

LIMITS = PictureLimits(most_bytes=32 * 2**20, most_pixels=64_000_000)
HONEST = encoded(a_picture())


def large(format: str) -> bytes:
    """A picture of the most pixels that are taken, in few bytes."""
    return encoded(Image.new("RGB", (8_000, 8_000), "teal"), format, lossless=True, speed=10, method=0)


def of_many_scans(scans: int) -> bytes:
    """A JPEG whose last scan is there over and over."""
    content = encoded(Image.new("RGB", (8_000, 8_000), "teal"), "JPEG", progressive=True)
    last = content[content.rindex(b"\xff\xda") : -2]
    return content[:-2] + last * (scans - content.count(b"\xff\xda")) + b"\xff\xd9"


def send(content: bytes, user: str = "ana") -> str:
    """What becomes of a picture that a user sends."""
    try:
        return f"{clean(content, role='input', limits=LIMITS, field='image', user=user).width} pixels wide"
    except InvalidRequest as refused:
        return refused.problems[0].message
    except Busy:
        return "busy"


def processes() -> list[psutil.Process]:
    """Those that decode for this test."""
    return [child for child in psutil.Process().children() if "farm.pictures.decoder" in child.cmdline()]


@pytest.fixture(autouse=True)
def _fresh_processes() -> Iterator[None]:
    DECODERS.close()
    yield
    DECODERS.close()


@pytest.mark.parametrize("format", ["AVIF", "WEBP"])
def test_eight_slow_pictures_of_one_user_hold_up_nobody_else(format: str, costs: Meter) -> None:
    slow = large(format)
    assert len(slow) < 300_000
    with costs.at_most(seconds=100, mebibytes=2_000), ThreadPoolExecutor(8) as threads:
        hostile = [threads.submit(send, slow, "mallory") for _ in range(8)]
        wait_until(lambda: any(process.cpu_times().user > 0.5 for process in processes()))
        began = time.monotonic()
        answers = [send(HONEST, "ana") for _ in range(3)]
        waited = time.monotonic() - began
    assert answers == ["48 pixels wide"] * 3
    assert waited < 6
    assert {future.result() for future in hostile} == {"8000 pixels wide", "busy"}


def test_a_jpeg_of_many_scans_costs_its_pixels_once_for_each_scan(costs: Meter) -> None:
    hostile = of_many_scans(99)
    assert estimate_cost(hostile) > 300_000_000
    with costs.at_most(seconds=1, mebibytes=50):
        assert "99 scans of 64 megapixels each" in send(hostile)


def test_a_progressive_jpeg_of_a_camera_is_accepted() -> None:
    assert send(encoded(Image.new("RGB", (2_000, 1_000)), "JPEG", progressive=True)) == "2000 pixels wide"


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGSEGV])
def test_a_decoder_that_ends_midway_refuses_its_picture_and_no_other(by: signal.Signals) -> None:
    assert send(HONEST) == "48 pixels wide"
    [process], [idle] = processes(), DECODERS._idle
    process.suspend()
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(send, HONEST)
        # It has been looked at by then, and found alive.
        wait_until(lambda: idle.served == 2)
        os.kill(process.pid, by)
        process.resume()
        assert answer.result() == "is damaged or cut off; save it again, as a PNG say"
    assert send(HONEST) == "48 pixels wide"


def test_a_decoder_that_ended_while_it_was_idle_spoils_no_picture() -> None:
    send(HONEST)
    [process] = processes()
    process.kill()
    wait_until(lambda: process.status() == psutil.STATUS_ZOMBIE)
    assert send(HONEST) == "48 pixels wide"


def test_a_decoder_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    assert send(HONEST) == "48 pixels wide"
    [process] = processes()
    process.suspend()
    monkeypatch.setattr(decoderqueue, "_LEAST_SECONDS", 0.2)
    assert "takes too long to decode" in send(HONEST)
    assert not process.is_running()


def test_a_picture_that_takes_more_of_a_processor_than_it_may_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoderqueue, "_SECONDS_FOR_PIXEL", 0.0)
    monkeypatch.setattr(decoderqueue, "_LEAST_SECONDS", 0.2)
    monkeypatch.setattr(decoderqueue, "_PATIENCE", 1_000.0)
    slow = encoded(Image.effect_noise((5_000, 5_000), 80), "PNG", compress_level=1)
    content_limits = PictureLimits(most_bytes=2**27, most_pixels=64_000_000)
    with pytest.raises(InvalidRequest, match="takes too long to decode"):
        clean(slow, role="input", limits=content_limits, field="image")


def test_a_decoder_inherits_no_environment_and_writes_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FARM_SECRET_KEY", "a secret")
    assert "FARM_SECRET_KEY" not in programs.strip_environment()
    send(HONEST)
    [process] = processes()
    bounds = Path(f"/proc/{process.pid}/limits").read_text().splitlines()
    assert next(line.split() for line in bounds if line.startswith("Max file size"))[3:5] == ["0", "0"]
    assert "-P" in process.cmdline()


def test_a_decoder_is_confined() -> None:
    send(HONEST)
    [process] = processes()
    status = Path(f"/proc/{process.pid}/status").read_text()
    # 2: system calls are filtered.
    assert f"Seccomp:\t{2 if probe().filters else 0}" in status


@pytest.mark.skipif(os.geteuid() != 0, reason="who is not root has no other user to become")
def test_a_decoder_does_not_run_as_root() -> None:
    send(HONEST)
    [process] = processes()
    assert 61_184 <= process.uids().real == process.uids().effective <= 65_519


@pytest.mark.parametrize("format", FORMATS)
def test_a_decoder_without_rights_reads_every_format(format: str) -> None:
    assert send(encoded(a_picture(), format)) == "48 pixels wide"


@pytest.mark.parametrize("bound", ["-v 16000000", "-t 3600"])
def test_a_decoder_works_under_limits_that_were_set_before(bound: str) -> None:
    decode = "import tests.security.test_hostile_pictures as t; print(t.send(t.HONEST), end='')"
    line = f'ulimit -H {bound}; exec "$0" -c "$1"'
    ran = subprocess.run(["sh", "-c", line, sys.executable, decode], capture_output=True, text=True, check=True)
    assert ran.stdout.endswith("pixels wide")


def test_a_sender_is_asked_to_come_back_if_no_decoder_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    assert send(HONEST) == "busy"


def test_decoders_end_with_the_process_they_work_for() -> None:
    decode = (
        "import tests.security.test_hostile_pictures as t; t.send(t.HONEST); "
        "print(t.processes()[0].pid, flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", decode], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as farm:
        assert farm.stdout is not None
        decoder = psutil.Process(int(farm.stdout.readline()))
        farm.kill()
    wait_until(lambda: not decoder.is_running() or decoder.status() == psutil.STATUS_ZOMBIE)


def test_a_decoder_outlives_the_thread_that_started_it() -> None:
    starter = threading.Thread(target=send, args=(HONEST,))
    starter.start()
    starter.join()
    [process] = processes()
    send(HONEST)
    assert processes() == [process]


def test_a_flood_of_pictures_leaves_the_portal_to_others(settings: Settings, database: Database) -> None:
    """Who waits for a decoder holds a thread: a few of one user may, and the others are asked to come back."""
    slow = large("WEBP")
    headers = {"Content-Type": "application/octet-stream"}
    with run_portal(settings) as portal, ThreadPoolExecutor(24) as threads:
        url = f"{portal.url}/api/v1/uploads?role=input"
        sent = [threads.submit(httpx.post, url, content=slow, headers=headers, timeout=120) for _ in range(24)]
        wait_until(lambda: sum(answer.done() for answer in sent) >= 18)
        assert portal.seconds_to_answer() < 5
        statuses = [answer.result().status_code for answer in sent]
    assert {200, 503} <= set(statuses) <= {200, 201, 503}


def test_the_pictures_of_one_request_share_a_budget() -> None:
    pixels = for_pictures(64_000_000)
    for _ in range(4):
        pixels.spend(64_000_000)
    with pytest.raises(InvalidRequest, match="320 million pixels or more; 256 million are allowed"):
        pixels.spend(64_000_000)


TURNS = st.lists(st.builds(QueuedPicture, st.sampled_from("abc"), st.integers(1, 90_000_000)), max_size=8)


@given(TURNS, TURNS.map(lambda turns: turns[:1]))
def test_a_user_without_a_picture_at_work_comes_before_one_with_some(
    waiting: list[QueuedPicture], running: list[QueuedPicture]
) -> None:
    chosen = choose_next(waiting, running, {})
    others = {turn.user for turn in waiting if not turn.is_heavy} - {turn.user for turn in running}
    assert chosen is None or chosen.user not in {turn.user for turn in running} or not others


@given(TURNS, TURNS.map(lambda turns: turns[:1]))
def test_a_small_picture_never_waits_while_a_process_is_free(
    waiting: list[QueuedPicture], running: list[QueuedPicture]
) -> None:
    if any(not turn.is_heavy for turn in waiting):
        assert choose_next(waiting, running, {}) is not None


def test_large_pictures_never_take_every_process() -> None:
    one, other = QueuedPicture("a", 64_000_000), QueuedPicture("b", 64_000_000)
    assert choose_next([other], [one], {}) is None


def test_users_take_turns() -> None:
    mine, theirs = QueuedPicture("a", 1), QueuedPicture("b", 1)
    assert choose_next([mine, theirs], [], {"a": 7}) is theirs


def test_a_user_whose_pictures_wait_already_is_sent_away_and_another_is_not() -> None:
    waiting = [QueuedPicture("a", 64_000_000)] * 4
    assert is_over_limit(QueuedPicture("a", 64_000_000), waiting, [])
    assert not is_over_limit(QueuedPicture("b", 64_000_000), waiting, [])


def test_one_picture_of_a_user_is_taken_however_large() -> None:
    assert not is_over_limit(QueuedPicture("a", 10**9), [QueuedPicture("b", 1)], [])


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_says_how_large_it_is(format: str) -> None:
    cost, pixels = estimate_cost(encoded(a_picture(), format)), 48 * 32
    assert pixels <= cost <= pixels * 1.1


@given(
    st.binary(max_size=200),
    st.sampled_from([b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM", b"\xff\xd8", b"RIFF", b"0000ftyp"]),
)
def test_a_header_of_any_bytes_has_a_cost(rest: bytes, start: bytes) -> None:
    assert estimate_cost(start + rest) >= 0
