"""The leases a worker holds."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from farm.queue.claimed import Lease
from tests.factories import a_spec
from workers.loop.holdings import Holdings


def a_lease(task_id: int = 1, attempt: int = 1) -> Lease:
    return Lease(task_id, 1, attempt, a_spec())


@pytest.fixture
def holdings() -> Holdings:
    return Holdings()


def test_a_lease_that_was_taken_is_held(holdings: Holdings) -> None:
    holdings.take([a_lease(1), a_lease(2)])
    assert holdings.holds(a_lease(1))
    assert holdings.all() == [a_lease(1), a_lease(2)]


def test_a_lease_that_was_dropped_is_not_held(holdings: Holdings) -> None:
    holdings.take([a_lease(1), a_lease(2)])
    holdings.drop([a_lease(1)])
    assert not holdings.holds(a_lease(1))
    assert holdings.all() == [a_lease(2)]


def test_another_attempt_of_a_task_is_another_lease(holdings: Holdings) -> None:
    holdings.take([a_lease(attempt=2)])
    holdings.drop([a_lease(attempt=1)])
    assert [holdings.holds(a_lease(attempt=number)) for number in (1, 2)] == [False, True]


def test_an_attempt_that_is_not_held_is_overlooked(holdings: Holdings) -> None:
    holdings.take([a_lease(1)])
    assert holdings.overlooked({(1, 1), (1, 2), (2, 1)}) == {(1, 2), (2, 1)}


def test_nothing_is_overlooked_while_images_are_taken_over(holdings: Holdings) -> None:
    with holdings.adopting():
        assert holdings.overlooked({(1, 1)}) == set()
    assert holdings.overlooked({(1, 1)}) == {(1, 1)}


def test_what_could_not_be_taken_over_yet_is_overlooked_after_some_tries(holdings: Holdings) -> None:
    found = []
    for keys in ([(1, 1), (2, 1)], *[None] * 4, *[[(1, 1)]] * 5):
        holdings.note_left(keys)
        found.append(holdings.overlooked({(1, 1), (2, 1)}))
    assert found == [set()] * 5 + [{(2, 1)}] * 4 + [{(1, 1), (2, 1)}]


def test_dropping_a_lease_that_is_not_held_is_harmless(holdings: Holdings) -> None:
    holdings.drop([a_lease()])
    assert holdings.all() == []


def test_many_threads_may_take_and_drop_at_once(holdings: Holdings) -> None:
    def take_and_drop(task_id: int) -> None:
        holdings.take([a_lease(task_id), a_lease(-task_id)])
        holdings.drop([a_lease(-task_id)])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(take_and_drop, range(1, 501)))
    assert sorted(lease.task_id for lease in holdings.all()) == list(range(1, 501))
