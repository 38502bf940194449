"""What accounts are owed, and what they used beyond their due."""

from collections.abc import Mapping

import pytest

from farm.dispatch.lags import Passed, debt_seconds, equal_shares, next_debts, next_lags
from farm.dispatch.policy import Policy
from farm.dispatch.shares import Key
from farm.dispatch.snapshot import Account

A, B, C = (1, None), (2, None), (3, None)


def lags(
    stored: Mapping[Key, float],
    rates: Mapping[Key, float],
    *,
    waiting: tuple[Key, ...] = (A, B, C),
    debts: Mapping[Key, float] | None = None,
    seconds: float = 10,
    is_saturated: bool = True,
) -> dict[Key, float]:
    accounts = {key: Account(*key, lag=lag) for key, lag in stored.items()}
    who = [key for key in waiting if key in stored]
    return next_lags(accounts, rates, who, debts or {}, Passed(seconds, is_saturated), Policy())


def debt(
    running: float, due: float, *, before: float = 0.0, seconds: float = 10, is_saturated: bool = True
) -> float:
    """That of one account."""
    accounts = {A: Account(*A, running_devices=running)}
    return next_debts({A: before}, accounts, {A: due}, Passed(seconds, is_saturated), Policy()).get(A, 0.0)


def test_a_lag_grows_by_the_rate_of_those_who_are_not_served() -> None:
    found = lags({A: -10.0, B: 0.0}, {A: 1.0, B: 1.0})
    assert found[B] - found[A] == pytest.approx(10, rel=0.01)


def test_lags_of_those_who_wait_add_up_to_nothing() -> None:
    assert sum(lags({A: 50.0, B: -20.0, C: 7.0}, {A: 1.0, B: 2.0, C: 1.5}).values()) == pytest.approx(0)


def test_an_account_without_a_backlog_is_owed_nothing() -> None:
    assert lags({A: 100.0, B: 0.0}, {B: 4.0}, waiting=(B,))[A] == 0


def test_a_lag_has_a_limit_by_the_rate() -> None:
    assert lags({A: 5000.0, B: -5000.0}, {A: 2.0, B: 1.0}) == {A: 600, B: -300}


def test_what_was_used_beyond_its_due_stays_owed_although_nothing_is_asked_for_now() -> None:
    assert lags({A: -5000.0}, {}, waiting=(), debts={A: 2400.0})[A] == -2400


def test_what_was_used_while_there_was_room_is_forgotten_within_minutes() -> None:
    assert lags({A: -200.0}, {A: 0.0}, seconds=240, is_saturated=False)[A] == pytest.approx(-50)


def test_a_lag_is_halved_in_an_hour_while_there_is_not_room() -> None:
    assert lags({A: -200.0, B: 200.0}, {}, waiting=(), seconds=3600)[A] == pytest.approx(-100)


def test_devices_beyond_its_due_are_an_accounts_debt() -> None:
    assert debt(6.0, 4.0) == 20
    assert debt(4.0, 4.0) == 0


def test_a_debt_is_paid_off_by_what_is_left_of_its_due() -> None:
    assert debt(1.0, 4.0, before=100.0) == pytest.approx(70, rel=0.01)
    assert debt(0.0, 4.0, before=30.0) == 0


def test_a_debt_grows_to_the_lag_limit_of_the_devices_that_made_it_and_does_not_shrink_with_them() -> None:
    assert debt(8.0, 0.0, seconds=1e6) == 2400
    assert debt(1.5, 1.0, before=2400.0, seconds=1) == pytest.approx(2400, rel=0.01)


def test_what_is_used_while_there_is_room_makes_no_debt() -> None:
    assert debt(6.0, 4.0, is_saturated=False) == 0
    assert debt(4.0, 4.0, before=100.0, seconds=120, is_saturated=False) == pytest.approx(50)


def test_equal_shares_are_by_weight_among_those_who_wait_and_oneself() -> None:
    accounts = {A: Account(1, weight=2), B: Account(2), C: Account(3)}
    assert equal_shares(accounts, [A, B], 12) == pytest.approx({A: 8, B: 4, C: 3})


def test_a_debt_is_in_seconds_of_its_due_and_of_one_device_at_least() -> None:
    assert (debt_seconds(60.0, 4.0), debt_seconds(60.0, 0.2)) == (15, 60)
