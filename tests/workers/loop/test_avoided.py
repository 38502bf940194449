"""What is left alone while the store is away, and for how long."""

import pytest

from workers.loop.avoided import AvoidedWork


class Clock:
    """A clock that is set by hand, in seconds."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def passed_over(clock: Clock) -> AvoidedWork:
    return AvoidedWork(clock)


def test_no_batch_key_is_passed_over_at_first(passed_over: AvoidedWork) -> None:
    assert passed_over.now() == frozenset()


def test_a_batch_key_that_failed_is_passed_over_for_a_pause(passed_over: AvoidedWork, clock: Clock) -> None:
    passed_over.note_failure("a")
    assert passed_over.now() == {"a"}
    clock.now = 2.0
    assert passed_over.now() == frozenset()


def test_pauses_double_up_to_half_a_minute(passed_over: AvoidedWork, clock: Clock) -> None:
    pauses = []
    for _ in range(7):
        passed_over.note_failure("a")
        begun = clock.now
        while passed_over.now():
            clock.now += 1.0
        pauses.append(clock.now - begun)
    assert pauses == [2, 4, 8, 16, 30, 30, 30]


def test_a_repeated_failure_keeps_all_batch_keys_waiting(passed_over: AvoidedWork, clock: Clock) -> None:
    for key in ("a", "b"):
        passed_over.note_failure(key)
    clock.now = 10.0
    passed_over.note_failure("b")
    assert passed_over.now() == {"a", "b"}


def test_a_success_frees_all_batch_keys(passed_over: AvoidedWork) -> None:
    for key in ("a", "b"):
        passed_over.note_failure(key)
    passed_over.note_success("a")
    assert passed_over.now() == frozenset()


def test_a_success_that_needed_no_read_frees_no_batch_key(passed_over: AvoidedWork) -> None:
    passed_over.note_failure("a")
    passed_over.note_success("resident")
    assert passed_over.now() == {"a"}


def test_an_outage_of_long_ago_does_not_lengthen_the_next_pause(passed_over: AvoidedWork, clock: Clock) -> None:
    """Others may have rendered what was left to them: nothing here ever saw the store come back."""
    for _ in range(5):
        passed_over.note_failure("a")
    clock.now = 3600.0
    passed_over.note_failure("b")
    assert passed_over.now() == {"b"}
    clock.now += 2.0
    assert passed_over.now() == frozenset()
