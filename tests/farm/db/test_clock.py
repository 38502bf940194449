"""Whether Postgres' clock was set is found by comparing it with our own."""

import pytest

from farm.db.clock import ClockWatch, Moment
from farm.db.connection import Database


def step(*moments: Moment) -> float:
    watch = ClockWatch()
    return [watch.compare(moment) for moment in moments][-1]


def test_of_the_first_moment_nobody_can_say() -> None:
    assert step(Moment(10_000.0, 5.0, 5.1)) == 0.0


@pytest.mark.parametrize(("now", "found"), [(101.0, 0.0), (161.0, 60.0), (41.0, -60.0)])
def test_a_clock_that_did_not_advance_as_ours_did_was_set(now: float, found: float) -> None:
    assert step(Moment(100.0, 5.0, 5.0), Moment(now, 6.0, 6.0)) == pytest.approx(found)


@pytest.mark.parametrize("now", [101.0, 108.0, 99.8])
def test_a_slow_answer_is_no_step(now: float) -> None:
    """Each time was read at some moment of a look."""
    assert step(Moment(100.0, 5.0, 6.5), Moment(now, 6.5, 13.0)) == 0.0


def test_a_clock_that_drifts_is_not_set() -> None:
    assert step(Moment(100.0, 5.0, 5.0), Moment(110.2, 15.0, 15.0)) == 0.0


def test_each_look_is_compared_with_the_one_before() -> None:
    assert step(Moment(100.0, 5.0, 5.0), Moment(160.0, 6.0, 6.0), Moment(161.0, 7.0, 7.0)) == 0.0


def test_postgres_clock_is_not_set_here(database: Database) -> None:
    watch = ClockWatch()
    for _ in range(3):
        with database.begin() as session:
            assert watch.look(session) == 0.0
