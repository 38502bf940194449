"""How much may be owed before a device moves."""

from dataclasses import replace

import pytest

from farm.dispatch.policy import Policy
from farm.dispatch.seating.hysteresis import fractions, law, slacks, tolerance, tolerances

POLICY = Policy()


def test_whole_rates_need_no_reloading() -> None:
    assert fractions([4.0, 8.0]) == 0
    assert law([4.0, 8.0], 15, 12, 4.0, POLICY) == 0


def test_the_law_of_eight_halves_on_four_devices() -> None:
    """Eight owners, half a device each, three percent of the time for loads of 15 seconds."""
    assert law([0.5] * 8, 15, 4, 0.5, POLICY) == pytest.approx(0.833, abs=0.001)


def test_more_reloading_allows_less_deviation() -> None:
    generous = replace(POLICY, reload_share=0.3)
    assert tolerance([0.5] * 8, 15, 4, generous) == pytest.approx(tolerance([0.5] * 8, 15, 4, POLICY) / 10)


def test_tolerances_are_between_their_limits() -> None:
    found = tolerances({(1, None): 0.1, (2, None): 8.0, (3, None): 900.0}, 10.0, POLICY)
    assert found == {(1, None): 30, (2, None): pytest.approx(96), (3, None): 300}


def test_a_checkpoint_is_as_far_off_as_those_allow_who_want_much_of_it() -> None:
    allowed = {1: {(1, None): 10.0, (2, None): 0.1}}
    assert slacks(allowed, {(1, None): 120.0, (2, None): 30.0}, POLICY) == {1: 0.5}
