"""Pictures that are small files and take a decoder long, or down: nobody else waits for them, and nothing ends."""

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from farm import decoding
from farm.budget import for_pictures
from farm.decoding import DECODERS, Turn, is_too_much, next_turn
from farm.errors import Busy, InvalidRequest
from farm.pictures import Limits, clean
from farm.picturesizes import cost_of
from tests.costs import Meter
from tests.pictures import FORMATS, a_picture, encoded
from tests.waiting import wait_until

LIMITS = Limits(most_bytes=32 * 2**20, most_pixels=64_000_000)
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
    return [child for child in psutil.Process().children() if "farm.decoder" in child.cmdline()]


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


def test_a_jpeg_of_many_scans_costs_as_many_pixels_as_it_has_the_decoder_go_over(costs: Meter) -> None:
    hostile = of_many_scans(99)
    assert cost_of(hostile) > 300_000_000
    with costs.at_most(seconds=1, mebibytes=50):
        assert "99 scans of 64 megapixels each" in send(hostile)


def test_a_jpeg_as_cameras_write_it_is_none_of_many_scans() -> None:
    assert send(encoded(Image.new("RGB", (2_000, 1_000)), "JPEG", progressive=True)) == "2000 pixels wide"


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGSEGV])
def test_a_decoder_that_ends_midway_refuses_its_picture_and_no_other(by: signal.Signals) -> None:
    assert send(HONEST) == "48 pixels wide"
    [process] = processes()
    process.suspend()
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(send, HONEST)
        wait_until(lambda: DECODERS._running != [])
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
    monkeypatch.setattr(decoding, "_LEAST_SECONDS", 0.2)
    assert "takes too long to decode" in send(HONEST)
    assert not process.is_running()


def test_a_picture_that_takes_more_of_a_processor_than_it_may_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "_SECONDS_FOR_PIXEL", 0.0)
    monkeypatch.setattr(decoding, "_LEAST_SECONDS", 0.2)
    monkeypatch.setattr(decoding, "_PATIENCE", 1_000.0)
    slow = encoded(Image.effect_noise((5_000, 5_000), 80), "PNG", compress_level=1)
    content_limits = Limits(most_bytes=2**27, most_pixels=64_000_000)
    with pytest.raises(InvalidRequest, match="takes too long to decode"):
        clean(slow, role="input", limits=content_limits, field="image")


def test_a_decoder_has_none_of_our_environment_and_writes_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FARM_SECRET_KEY", "a secret")
    send(HONEST)
    [process] = processes()
    assert "FARM_SECRET_KEY" not in process.environ()
    assert process.rlimit(psutil.RLIMIT_FSIZE) == (0, 0)
    assert "-P" in process.cmdline()


def test_decoders_end_with_the_process_they_work_for() -> None:
    send(HONEST)
    [process] = processes()
    DECODERS.close()
    assert not process.is_running()


def test_pictures_that_come_with_one_request_have_a_budget_together() -> None:
    pixels = for_pictures(64_000_000)
    for _ in range(4):
        pixels.spend(64_000_000)
    with pytest.raises(InvalidRequest, match="320 million pixels or more; 256 million are allowed"):
        pixels.spend(64_000_000)


TURNS = st.lists(st.builds(Turn, st.sampled_from("abc"), st.integers(1, 90_000_000)), max_size=8)


@given(TURNS, TURNS.map(lambda turns: turns[:1]))
def test_who_has_nothing_at_work_comes_before_who_has(waiting: list[Turn], running: list[Turn]) -> None:
    chosen = next_turn(waiting, running, {})
    others = {turn.user for turn in waiting if not turn.is_heavy} - {turn.user for turn in running}
    assert chosen is None or chosen.user not in {turn.user for turn in running} or not others


@given(TURNS, TURNS.map(lambda turns: turns[:1]))
def test_a_small_picture_never_waits_while_a_process_is_free(waiting: list[Turn], running: list[Turn]) -> None:
    if any(not turn.is_heavy for turn in waiting):
        assert next_turn(waiting, running, {}) is not None


def test_large_pictures_never_take_every_process() -> None:
    one, other = Turn("a", 64_000_000), Turn("b", 64_000_000)
    assert next_turn([other], [one], {}) is None


def test_users_take_turns() -> None:
    mine, theirs = Turn("a", 1), Turn("b", 1)
    assert next_turn([mine, theirs], [], {"a": 7}) is theirs


def test_a_user_whose_pictures_wait_already_is_sent_away_and_another_is_not() -> None:
    waiting = [Turn("a", 64_000_000)] * 4
    assert is_too_much(Turn("a", 64_000_000), waiting, [])
    assert not is_too_much(Turn("b", 64_000_000), waiting, [])


def test_one_picture_of_a_user_is_taken_however_large() -> None:
    assert not is_too_much(Turn("a", 10**9), [Turn("b", 1)], [])


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_says_how_large_it_is(format: str) -> None:
    cost, pixels = cost_of(encoded(a_picture(), format)), 48 * 32
    assert pixels <= cost <= pixels * 1.1


@given(
    st.binary(max_size=200),
    st.sampled_from([b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM", b"\xff\xd8", b"RIFF", b"0000ftyp"]),
)
def test_whatever_a_header_holds_a_size_is_told_or_none(rest: bytes, start: bytes) -> None:
    assert cost_of(start + rest) >= 0
