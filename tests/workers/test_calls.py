"""What a child is told from outside."""

import io
import threading
import time

import pytest

from workers.calls import Calls
from workers.child import listen


@pytest.fixture
def calls() -> Calls:
    return Calls(drain_seconds=60)


def seconds_until_rung(calls: Calls, patience: float) -> float:
    started = time.monotonic()
    calls.wait_for_ring(patience)
    return time.monotonic() - started


def test_a_ring_ends_the_wait(calls: Calls) -> None:
    threading.Timer(0.05, calls.ring).start()
    assert seconds_until_rung(calls, 30) < 10


def test_a_ring_before_the_wait_is_not_lost(calls: Calls) -> None:
    calls.ring()
    assert seconds_until_rung(calls, 30) < 10


def test_a_ring_that_was_hushed_is_forgotten(calls: Calls) -> None:
    calls.ring()
    calls.hush()
    assert seconds_until_rung(calls, 0.05) >= 0.05


def test_draining_ends_every_wait_even_when_hushed(calls: Calls) -> None:
    calls.drain()
    calls.hush()
    assert calls.is_draining
    assert seconds_until_rung(calls, 30) < 10


def test_what_renders_may_finish_within_the_drain_time(calls: Calls) -> None:
    assert not calls.must_stop_now
    calls.drain()
    assert not calls.must_stop_now


def test_after_the_drain_time_what_renders_must_stop() -> None:
    calls = Calls(drain_seconds=0)
    calls.drain()
    assert calls.must_stop_now


def test_a_second_drain_grants_no_more_time() -> None:
    calls = Calls(drain_seconds=0.05)
    calls.drain()
    time.sleep(0.06)
    calls.drain()
    assert calls.must_stop_now


def test_delivery_may_take_what_is_left_of_the_drain_time_and_half_as_much_again(calls: Calls) -> None:
    calls.drain()
    assert calls.seconds_left == pytest.approx(90, abs=5)


def test_delivery_has_a_second_even_where_there_is_no_drain_time() -> None:
    calls = Calls(drain_seconds=0)
    calls.drain()
    assert calls.seconds_left == 1


def test_a_child_obeys_the_word_ring(calls: Calls) -> None:
    listen(io.StringIO("ring\n"), calls.ring, calls.drain)
    assert seconds_until_rung(calls, 30) < 10


def test_a_child_obeys_the_word_drain_before_its_parent_is_gone(calls: Calls) -> None:
    def words() -> object:
        yield "\n"
        yield "nonsense\n"
        assert not calls.is_draining
        yield "drain\n"
        assert calls.is_draining

    listen(words(), calls.ring, calls.drain)  # type: ignore[arg-type]  # whatever has lines


def test_a_child_whose_parent_is_gone_drains(calls: Calls) -> None:
    listen(io.StringIO(""), calls.ring, calls.drain)
    assert calls.is_draining
