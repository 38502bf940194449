"""How many devices each checkpoint should have."""

from hypothesis import given
from hypothesis import strategies as st

from farm.dispatch.demand import Demand
from farm.dispatch.policy import Policy
from farm.dispatch.seating.split import split

A, B = (1, None), (2, None)
_allowed = st.dictionaries(
    st.integers(1, 5),
    st.dictionaries(st.sampled_from((A, B, (3, None))), st.floats(0.01, 10), min_size=1),
    min_size=1,
)


def demand(allowed: dict, *, is_saturated: bool) -> Demand:
    rates: dict = {}
    for by_key in allowed.values():
        for key, devices in by_key.items():
            rates[key] = rates.get(key, 0.0) + devices
    return Demand(rates, dict(rates), allowed, sum(rates.values()), is_saturated)


def test_a_split_keeps_what_is_there_while_there_is_room() -> None:
    found = split(demand({1: {A: 0.5}, 2: {B: 3.0}}, is_saturated=False), {1: 4, 2: 1}, {}, Policy())
    assert found == {1: 4, 2: 3}


def test_a_split_that_is_even_moves_nothing() -> None:
    found = split(demand({1: {A: 4.0}, 2: {B: 4.0}}, is_saturated=True), {1: 4, 2: 4}, {A: 0, B: 0}, Policy())
    assert found == {1: 4, 2: 4}


def test_what_is_owed_is_added_within_the_time_of_correction() -> None:
    found = split(demand({1: {A: 4.0}, 2: {B: 4.0}}, is_saturated=True), {1: 4, 2: 4}, {A: 120, B: -120}, Policy())
    assert found == {1: 5, 2: 3}


def test_a_lack_goes_to_the_neediest_checkpoint() -> None:
    found = split(demand({1: {A: 1.0}, 2: {A: 3.0}}, is_saturated=True), {1: 1, 2: 1}, {}, Policy())
    assert found == {1: 1, 2: 3}


@given(_allowed, st.dictionaries(st.integers(1, 5), st.integers(0, 6)), st.floats(-300, 300))
def test_a_split_adds_up_to_what_is_owed_or_leaves_none_below_zero(allowed: dict, seats: dict, lag: float) -> None:
    wanted = split(demand(allowed, is_saturated=True), seats, {A: lag}, Policy())
    assert all(devices >= -1e-9 for devices in wanted.values())
    assert set(wanted) == set(allowed)


@given(_allowed, st.dictionaries(st.integers(1, 5), st.integers(0, 6)))
def test_a_split_takes_nothing_away_while_there_is_room(allowed: dict, seats: dict) -> None:
    wanted = split(demand(allowed, is_saturated=False), seats, {}, Policy())
    assert all(devices >= seats.get(c, 0) - 1e-9 for c, devices in wanted.items())
