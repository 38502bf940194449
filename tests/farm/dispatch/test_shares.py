"""Fair rates."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.dispatch.shares import divide, effective_weights, fill
from farm.dispatch.snapshot import Account

A = (1, None)
_parts = st.lists(st.tuples(st.floats(0.01, 100), st.floats(0.1, 10), st.floats(0, 50)), min_size=1, max_size=8)
"""What each demands, weighs and was given before."""


@given(st.floats(0, 200), _parts)
def test_a_fill_gives_out_all_that_is_wanted_or_all_that_there_is(
    capacity: float, parts: list[tuple[float, float, float]]
) -> None:
    demands = [part[0] for part in parts]
    filled = fill(capacity, *map(list, zip(*parts, strict=True)))
    assert sum(filled) == pytest.approx(min(capacity, sum(demands)))
    assert all(0 <= part <= demand for part, demand in zip(filled, demands, strict=True))


@given(st.floats(0, 200), _parts)
def test_a_fill_is_max_min_fair(capacity: float, parts: list[tuple[float, float, float]]) -> None:
    """Who gets less than asked has in all no less, by weight, than anybody else who gets something."""
    filled = fill(capacity, *map(list, zip(*parts, strict=True)))
    levels = [(have + part) / weight for part, (_, weight, have) in zip(filled, parts, strict=True)]
    most = max((level for level, part in zip(levels, filled, strict=True) if part > 0), default=0.0)
    bound = [level for level, part, (demand, *_) in zip(levels, filled, parts, strict=True) if part < demand - 1e-6]
    assert all(level >= most - 1e-6 for level in bound)


def test_what_was_given_before_counts_for_an_owner_and_for_the_project() -> None:
    accounts = {(1, 7): Account(1, 7), (2, 8): Account(2, 8), (3, 8): Account(3, 8)}
    given_before = {(2, 8): 2.0}
    assert divide(8, dict.fromkeys(accounts, 100.0), accounts, given_before) == pytest.approx(
        {(1, 7): 5, (2, 8): 0.5, (3, 8): 2.5}
    )


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
