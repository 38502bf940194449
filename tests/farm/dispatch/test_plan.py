"""The plan as a whole: what holds of every plan, and the rules that need all of it."""

from dataclasses import replace

import pytest
from hypothesis import given, settings

from farm.dispatch.feasible import suits
from farm.dispatch.plan import plan
from farm.dispatch.planned import Plan
from farm.dispatch.snapshot import Account, Carried, Seat, Serving, Snapshot, WorkClass
from tests.farm.dispatch.snapshots import NOW, backlog, device, group, snapshot, snapshots

FAST = settings(max_examples=60)


def seats(made: Plan) -> dict[int, int]:
    """The groups of the seats, by device."""
    return {seat.device: seat.group for seat in made.seats}


@FAST
@given(snapshots())
def test_a_seat_is_feasible_and_has_work(known: Snapshot) -> None:
    groups = {g.id: g for g in known.groups}
    devices = {d.id: d for d in known.devices}
    queued = {b.group for b in known.backlogs}
    for seat in plan(known, NOW).seats:
        is_suited = suits(devices[seat.device], groups[seat.group])
        assert is_suited or not any(suits(d, groups[seat.group]) for d in known.devices)
        assert seat.group in queued
        assert 1 <= seat.images <= 8


@FAST
@given(snapshots())
def test_a_plan_is_the_same_for_the_same_snapshot(known: Snapshot) -> None:
    assert plan(known, NOW) == plan(known, NOW)


@FAST
@given(snapshots())
def test_the_order_of_a_snapshot_decides_nothing(known: Snapshot) -> None:
    turned = replace(known, devices=known.devices[::-1], groups=known.groups[::-1], accounts=known.accounts[::-1])
    assert seats(plan(turned, NOW)) == seats(plan(known, NOW))


@FAST
@given(snapshots())
def test_every_backlog_has_an_outlook(known: Snapshot) -> None:
    waiting = {(b.group, b.owner, b.project, b.class_) for b in known.backlogs}
    assert {(o.group, o.owner, o.project, o.class_) for o in plan(known, NOW).outlooks} == waiting


@FAST
@given(snapshots())
def test_rates_never_exceed_the_devices(known: Snapshot) -> None:
    assert sum(share.rate for share in plan(known, NOW).shares) <= len(known.devices) + 1e-6


def test_a_plan_that_changes_nothing_comes_out_equal() -> None:
    known = snapshot([device(n, 1 + n % 2, free_in=5) for n in range(8)], [backlog(1, 1, 500), backlog(2, 2, 500)])
    seated = [Seat(n, 1 + n % 2, 1 + n % 2, 8) for n in range(8)]
    known = replace(known, devices=tuple(replace(d, seat=s) for d, s in zip(known.devices, seated, strict=True)))
    assert plan(known, NOW).seats == tuple(seated)


def test_a_device_that_is_not_ready_gets_no_seat() -> None:
    assert plan(snapshot([replace(device(1, 1), is_ready=False)], [backlog(1)]), NOW).seats == ()


def test_a_device_stays_with_its_checkpoint_while_shares_are_even() -> None:
    known = snapshot([device(1, 1), device(2, 2)], [backlog(1, 1, 5000), backlog(2, 2, 5000)])
    assert seats(plan(known, NOW)) == {1: 1, 2: 2}


def test_an_owner_who_is_owed_much_gets_a_device_of_the_others() -> None:
    devices = [device(n, 1, free_in=4) for n in range(1, 5)]
    accounts = [Account(1, lag=-200), Account(2, lag=200)]
    made = plan(snapshot(devices, [backlog(1, 1, 5000), backlog(2, 2, 5000)], accounts=accounts), NOW)
    assert 2 in seats(made).values()


def test_simultaneous_claimers_are_spread_over_groups() -> None:
    """32 one-image jobs of distinct keys and one checkpoint, 32 idle devices: a seat for each."""
    groups = [group(n, 1) for n in range(1, 33)]
    known = snapshot([device(n, 1) for n in range(1, 33)], [backlog(n, n, 1) for n in range(1, 33)], groups=groups)
    assert sorted(seats(plan(known, NOW)).values()) == list(range(1, 33))


def test_images_of_many_owners_fill_one_batch() -> None:
    known = snapshot([device(1, 1)], [backlog(1, owner, 1) for owner in range(1, 5)])
    assert [seat.images for seat in plan(known, NOW).seats] == [8]


@pytest.mark.parametrize(("busy", "seats_made"), [(0, 8), (24, 3), (100, 1)])
def test_a_short_queue_is_spread_over_idle_devices_as_far_as_there_is_room(busy: int, seats_made: int) -> None:
    """Each batch takes about one image more than it has: with 24 of 32 devices busy, three are affordable."""
    idle = [device(number, 1) for number in range(1, 9)]
    others = [device(number, 2, free_in=60, serving=Serving(2, 2, None, 8)) for number in range(9, 9 + busy)]
    made = plan(snapshot([*idle, *others], [backlog(1, 1, 8)], groups=[group(1, 1), group(2, 2)]), NOW)
    assert sum(seat.device <= 8 for seat in made.seats) == seats_made


def test_what_only_large_devices_can_do_goes_to_them() -> None:
    devices = [device(1, 1, too_large=200), device(2, 1)]
    groups = [group(1), group(2, pixels=200)]
    made = plan(
        snapshot(
            devices,
            [backlog(1, 1, 5000), backlog(2, 2, 5000, age=900)],
            groups=groups,
            accounts=[Account(1, lag=-300), Account(2, lag=300)],
        ),
        NOW,
    )
    assert seats(made) == {1: 1, 2: 2}


def test_a_group_that_no_device_suits_may_be_tried_by_all() -> None:
    made = plan(snapshot([device(1, barred=[1])], [backlog(1, images=100)]), NOW)
    assert seats(made) == {1: 1}


def test_a_jobs_most_devices_are_kept() -> None:
    known = snapshot([device(n, 1) for n in range(1, 6)], [backlog(1, images=500, max_devices=2)])
    assert len(plan(known, NOW).seats) == 2


def test_interactive_images_go_before_bulk() -> None:
    bulk, small = backlog(1, 1, 5000, age=800), backlog(2, 2, 1, class_=WorkClass.INTERACTIVE, age=0)
    known = snapshot([device(1, 1, 2)], [bulk, small])
    assert seats(plan(known, NOW)) == {1: 2}


def test_a_cold_checkpoint_waits_for_more_images_while_there_is_room() -> None:
    assert seats(plan(snapshot([device(1, 1)], [backlog(2, images=3, age=5)]), NOW)) == {}


def test_a_cold_checkpoint_is_loaded_once_it_has_waited() -> None:
    assert seats(plan(snapshot([device(1, 1)], [backlog(2, images=3, age=61)]), NOW)) == {1: 2}


def test_a_host_that_has_the_weights_cached_is_preferred() -> None:
    known = snapshot([device(1), device(2, cached=[1]), device(3)], [backlog(1, images=40)])
    assert seats(plan(known, NOW)) == {2: 1}


def test_a_device_that_has_to_load_reads_ahead() -> None:
    made = plan(snapshot([device(1, 1)], [backlog(2, images=100)]), NOW)
    assert [seat.next_checkpoint for seat in made.seats] == [2]


def test_a_new_leader_keeps_the_devices_where_they_are() -> None:
    devices = [device(n, 1 + n % 2, free_in=1, serving=Serving(1 + n % 2, 1 + n % 2, None, 8)) for n in range(8)]
    known = snapshot(devices, [backlog(1, 1, 5000), backlog(2, 2, 5000)], carried=Carried())
    assert seats(plan(known, NOW)) == {n: 1 + n % 2 for n in range(8)}


def test_a_checkpoint_that_waited_too_long_is_given_a_device() -> None:
    carried = Carried(planned_at=NOW - 1, unseated_since={2: NOW - 3000})
    known = snapshot([device(1, 1)], [backlog(1, 1, 5000), backlog(2, 2, 1)], carried=carried)
    assert seats(plan(known, NOW)) == {1: 2}


def test_a_deadline_of_an_account_in_debt_waits_with_its_bulk() -> None:
    urgent, bulk = backlog(1, 1, 900, deadline_in=10, age=100), backlog(1, 2, 900, age=100)
    accounts = [Account(1, lag=-200), Account(2, lag=200)]
    for debt, owner in ((0.0, 1), (1000.0, 2)):
        carried = Carried(planned_at=NOW - 1, debts={(1, None): debt})
        made = plan(snapshot([device(1, 1)], [urgent, bulk], accounts=accounts, carried=carried), NOW)
        assert [seat.owner for seat in made.seats] == [owner]


def test_what_an_account_in_debt_waits_for_too_long_is_served_all_the_same() -> None:
    urgent, bulk = backlog(1, 1, 900, deadline_in=10, age=901), backlog(1, 2, 900, priority=80)
    carried = Carried(planned_at=NOW - 1, debts={(1, None): 1000.0})
    made = plan(snapshot([device(1, 1)], [urgent, bulk], carried=carried), NOW)
    assert [seat.owner for seat in made.seats] == [1]


def test_an_account_that_has_nothing_queued_keeps_its_debt() -> None:
    carried = Carried(planned_at=NOW - 1, debts={(1, None): 1000.0})
    made = plan(snapshot([device(1, 2)], [backlog(2, 2, 5000)], carried=carried), NOW)
    assert 990 < made.carried.debts[1, None] < 1000


def test_nothing_is_interactive_of_an_account_deep_in_debt() -> None:
    waiting = [backlog(1, 1, 5000, age=100), backlog(1, 2, 1, class_=WorkClass.INTERACTIVE, age=50)]
    for debt, owner in ((0.0, 2), (1000.0, 1)):
        carried = Carried(planned_at=NOW - 1, debts={(2, None): debt})
        made = plan(snapshot([device(1, 1)], waiting, carried=carried), NOW)
        assert [seat.owner for seat in made.seats] == [owner]


def late(waited: float, **changes: object) -> Carried:
    """Checkpoints 2 and 3 have had no device for so long."""
    return replace(Carried(planned_at=NOW - 1, unseated_since={2: NOW - waited, 3: NOW - waited}), **changes)


def forced(carried: Carried) -> list[int]:
    """Which groups of owner 2 are seated on four devices full of another owner's."""
    devices = [device(n, 1, free_in=1) for n in range(1, 5)]
    waiting = [backlog(1, 1, 5000), backlog(2, 2, 1), backlog(3, 2, 1)]
    made = plan(snapshot(devices, waiting, carried=carried), NOW)
    return sorted(group for group in seats(made).values() if group != 1)


def test_what_waited_too_long_is_forced_as_far_as_such_loads_may_go() -> None:
    assert forced(late(800)) == [2, 3]
    assert forced(late(800, forced_seconds=1.0)) == [2]
    assert forced(late(800, forced_seconds=-5.0)) == []


def test_what_is_resident_is_forced_whatever_loads_cost() -> None:
    """Although the device that holds it is the last one of its own checkpoint."""
    devices = [*(device(n, 1, free_in=1) for n in range(1, 4)), device(4, 4, 3, free_in=1)]
    waiting = [backlog(1, 1, 5000), backlog(4, 1, 5000), backlog(3, 2, 1)]
    made = plan(snapshot(devices, waiting, carried=late(800, forced_seconds=-5.0)), NOW)
    assert seats(made)[4] == 3
    assert 3 not in [seats(made)[n] for n in range(1, 4)]


def test_loads_by_force_use_up_what_they_may_take_and_it_comes_back() -> None:
    known = snapshot([device(1, 1)], [backlog(1, 1, 5000), backlog(2, 2, 1)], carried=late(800, forced_seconds=1.0))
    assert plan(known, NOW).carried.forced_seconds == pytest.approx(1.05 - 15)
    idle = snapshot([device(1, 1)], [], carried=late(0, forced_seconds=-14.0))
    assert plan(idle, NOW).carried.forced_seconds == pytest.approx(-13.95)


def test_nothing_is_forced_for_accounts_in_debt_before_it_has_waited_as_long_as_rises() -> None:
    debts = {(2, None): 1000.0}
    assert forced(late(800, debts=debts)) == []
    assert forced(late(2000, debts=debts)) == [2, 3]
