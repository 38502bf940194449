"""The orders of a parent to its child."""

import io
import threading
import time

import pytest

from workers.child import read_orders
from workers.loop.orders import Orders


@pytest.fixture
def orders() -> Orders:
    return Orders(drain_seconds=60)


def seconds_until_rung(orders: Orders, patience: float) -> float:
    started = time.monotonic()
    orders.wait_for_ring(patience)
    return time.monotonic() - started


def test_a_ring_ends_the_wait(orders: Orders) -> None:
    threading.Timer(0.05, orders.ring).start()
    assert seconds_until_rung(orders, 30) < 10


def test_a_ring_before_the_wait_is_not_lost(orders: Orders) -> None:
    orders.ring()
    assert seconds_until_rung(orders, 30) < 10


def test_a_ring_that_was_cleared_is_forgotten(orders: Orders) -> None:
    orders.ring()
    orders.clear_rings()
    assert seconds_until_rung(orders, 0.05) >= 0.05


def test_draining_ends_every_wait_even_when_rings_are_cleared(orders: Orders) -> None:
    orders.drain()
    orders.clear_rings()
    assert orders.is_draining
    assert seconds_until_rung(orders, 30) < 10


def test_a_render_may_finish_within_the_drain_time(orders: Orders) -> None:
    assert not orders.must_stop_now
    orders.drain()
    assert not orders.must_stop_now


def test_a_render_must_stop_after_the_drain_time() -> None:
    orders = Orders(drain_seconds=0)
    orders.drain()
    assert orders.must_stop_now


def test_a_second_drain_grants_no_more_time() -> None:
    orders = Orders(drain_seconds=0.05)
    orders.drain()
    time.sleep(0.06)
    orders.drain()
    assert orders.must_stop_now


def test_delivery_may_take_what_is_left_of_the_drain_time_and_half_as_much_again(orders: Orders) -> None:
    orders.drain()
    assert orders.seconds_left == pytest.approx(90, abs=5)


def test_delivery_has_a_second_even_without_a_drain_time() -> None:
    orders = Orders(drain_seconds=0)
    orders.drain()
    assert orders.seconds_left == 1


def test_a_child_obeys_the_word_ring(orders: Orders) -> None:
    read_orders(io.StringIO("ring\n"), orders.ring, orders.drain)
    assert seconds_until_rung(orders, 30) < 10


def test_a_child_obeys_the_word_drain_before_its_parent_is_gone(orders: Orders) -> None:
    def words() -> object:
        yield "\n"
        yield "nonsense\n"
        assert not orders.is_draining
        yield "drain\n"
        assert orders.is_draining

    read_orders(words(), orders.ring, orders.drain)  # type: ignore[arg-type]  # whatever has lines


def test_a_child_whose_parent_is_gone_drains(orders: Orders) -> None:
    read_orders(io.StringIO(""), orders.ring, orders.drain)
    assert orders.is_draining
