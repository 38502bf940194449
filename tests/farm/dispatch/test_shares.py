"""Fair rates and lags."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.dispatch.policy import Policy
from farm.dispatch.shares import divide, effective_weights, fill, next_lags
from farm.dispatch.snapshot import Account

A, B, C = (1, None), (2, None), (3, None)
_parts = st.lists(st.tuples(st.floats(0.01, 100), st.floats(0.1, 10)), min_size=1, max_size=8)


@given(st.floats(0, 200), _parts)
def test_a_fill_gives_out_all_that_is_wanted_or_all_that_there_is(
    capacity: float, parts: list[tuple[float, float]]
) -> None:
    demands, weights = [p[0] for p in parts], [p[1] for p in parts]
    assert sum(fill(capacity, demands, weights)) == pytest.approx(min(capacity, sum(demands)))


@given(st.floats(0, 200), _parts)
def test_a_fill_is_max_min_fair(capacity: float, parts: list[tuple[float, float]]) -> None:
    """Who gets less than asked has no less, by weight, than anybody else."""
    demands, weights = [p[0] for p in parts], [p[1] for p in parts]
    given_ = fill(capacity, demands, weights)
    levels = [part / weight for part, weight in zip(given_, weights, strict=True)]
    bound = [level for level, part, demand in zip(levels, given_, demands, strict=True) if part < demand - 1e-6]
    assert all(level >= max(levels) - 1e-6 for level in bound)


def test_projects_share_before_their_owners() -> None:
    accounts = {(1, 7): Account(1, 7), (2, 8): Account(2, 8), (3, 8): Account(3, 8)}
    assert divide(8, dict.fromkeys(accounts, 100.0), accounts) == {(1, 7): 4, (2, 8): 2, (3, 8): 2}


def test_weights_count_between_projects_and_inside_them() -> None:
    accounts = {
        (1, 7): Account(1, 7, project_weight=3),
        (2, 8): Account(2, 8, weight=2),
        (3, 8): Account(3, 8),
    }
    assert divide(12, dict.fromkeys(accounts, 100.0), accounts) == pytest.approx({(1, 7): 9, (2, 8): 2, (3, 8): 1})


def test_effective_weights_divide_a_projects_weight() -> None:
    accounts = {A: Account(1, weight=2), (2, 8): Account(2, 8, project_weight=3), (3, 8): Account(3, 8, 2, 3)}
    assert effective_weights(list(accounts), accounts) == pytest.approx({A: 2, (2, 8): 1, (3, 8): 2})


def lags(stored: dict, rates: dict, waiting: dict, *, seconds: float = 10, is_saturated: bool = True) -> dict:
    return next_lags(stored, rates, waiting, Policy(), seconds=seconds, is_saturated=is_saturated)


def test_a_lag_grows_by_the_rate_of_those_who_are_not_served() -> None:
    found = lags({A: -10.0, B: 0.0}, {A: 1.0, B: 1.0}, {A: 1, B: 1})
    assert found[B] - found[A] == pytest.approx(10, rel=0.01)


def test_lags_of_those_who_wait_add_up_to_nothing() -> None:
    assert sum(
        lags({A: 50.0, B: -20.0, C: 7.0}, {A: 1.0, B: 2.0, C: 1.5}, {A: 1, B: 1, C: 1}).values()
    ) == pytest.approx(0)


def test_an_account_without_a_backlog_is_owed_nothing() -> None:
    assert lags({A: 100.0, B: 0.0}, {B: 4.0}, {B: 1})[A] == 0


def test_a_lag_has_a_limit_by_the_rate() -> None:
    assert lags({A: 5000.0, B: -5000.0}, {A: 2.0, B: 1.0}, {A: 1, B: 1}) == {A: 600, B: -300}


def test_what_was_used_while_there_was_room_is_forgotten_within_minutes() -> None:
    assert lags({A: -200.0}, {A: 0.0}, {A: 1}, seconds=240, is_saturated=False)[A] == pytest.approx(-50)


def test_a_lag_is_halved_in_an_hour_while_there_is_not_room() -> None:
    assert lags({A: -200.0, B: 200.0}, {A: 0.0, B: 0.0}, {}, seconds=3600)[A] == pytest.approx(-100)
