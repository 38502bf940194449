"""Rates and demand by class, priority, and what devices suit."""

import pytest

from farm.dispatch.batches import Batches
from farm.dispatch.classes import rank_rows
from farm.dispatch.demand import Demand, find_demand
from farm.dispatch.feasible import find_feasible
from farm.dispatch.snapshot import Account, Snapshot
from tests.farm.dispatch.snapshots import NOW, backlog, device, group, snapshot


def demand_of(known: Snapshot) -> Demand:
    groups = {g.id: g for g in known.groups}
    accounts = {key: Account(*key) for key in {(b.owner, b.project) for b in known.backlogs}}
    rows = rank_rows(known, groups, Batches(known.speeds, known.policy), (), NOW)
    return find_demand(rows, accounts, find_feasible(known.devices, known.groups), known.policy, len(known.devices))


def test_a_queue_asks_for_what_ends_it_within_the_horizon() -> None:
    demand = demand_of(snapshot([device(n) for n in range(9)], [backlog(1, images=240)]))
    assert demand.rates == pytest.approx({(1, None): 2})
    assert not demand.is_saturated


def test_higher_priorities_are_given_theirs_first() -> None:
    known = snapshot([device(n) for n in range(4)], [backlog(1, 1, 360, priority=80), backlog(2, 2, 900)])
    assert demand_of(known).rates == pytest.approx({(1, None): 3, (2, None): 1})


def test_urgent_deadlines_have_at_most_their_part_of_the_devices() -> None:
    known = snapshot([device(n) for n in range(8)], [backlog(1, 1, 9000, deadline_in=10), backlog(2, 2, 9000)])
    assert demand_of(known).rates[1, None] == pytest.approx(4)


def test_urgent_deadlines_of_one_owner_have_a_tenth_of_the_devices_beyond_the_fair_share() -> None:
    urgent, bulk = backlog(1, 1, 9000, deadline_in=10), [backlog(2, owner, 9000) for owner in range(1, 6)]
    rates = demand_of(snapshot([device(n) for n in range(20)], [urgent, *bulk])).rates
    assert rates[1, None] == pytest.approx(4 + 2)
    assert rates[2, None] == pytest.approx(14 / 4)


def test_what_is_given_to_urgent_work_counts_in_an_owners_share_of_the_rest() -> None:
    urgent, bulk = backlog(1, 1, 360, deadline_in=120), [backlog(2, owner, 9000) for owner in (1, 2)]
    rates = demand_of(snapshot([device(n) for n in range(8)], [urgent, *bulk])).rates
    assert rates == pytest.approx({(1, None): 4, (2, None): 4})


def test_what_few_devices_can_do_has_no_more_than_those() -> None:
    devices = [device(1, too_large=200), device(2, too_large=200), device(3)]
    groups = [group(1), group(2, pixels=200)]
    demand = demand_of(snapshot(devices, [backlog(1, 1, 9000), backlog(2, 2, 9000)], groups=groups))
    assert demand.rates == pytest.approx({(1, None): 2, (2, None): 1})


def test_a_jobs_most_devices_bound_what_it_asks_for() -> None:
    known = snapshot([device(n) for n in range(8)], [backlog(1, images=9000, max_devices=3)])
    assert demand_of(known).rates[1, None] == pytest.approx(3, rel=1e-3)
