"""The order in which what waits is served."""

from dataclasses import replace

from farm.dispatch.batches import Batches
from farm.dispatch.classes import BULK, INTERACTIVE, URGENT, Row, devices_needed, rank_rows
from farm.dispatch.policy import Policy
from farm.dispatch.shares import Key
from farm.dispatch.snapshot import Backlog, Carried, Serving, WorkClass
from tests.farm.dispatch.snapshots import NOW, backlog, device, snapshot


def rank(
    *backlogs: Backlog,
    carried: Carried | None = None,
    serving: Serving | None = None,
    debtors: tuple[Key, ...] = (),
    steps: float = 1.0,
) -> list[Row]:
    """Rank them on four devices; an image takes as many seconds as steps."""
    devices = [replace(device(n, 1), serving=serving) for n in range(1, 5)]
    known = snapshot(devices, backlogs, carried=carried)
    groups = {g.id: replace(g, pixel_steps=64 * steps) for g in known.groups}
    return rank_rows(known, groups, Batches(known.speeds, known.policy), debtors, NOW)


def test_interactive_images_beyond_a_small_number_count_as_bulk() -> None:
    rows = rank(backlog(1, images=100, class_=WorkClass.INTERACTIVE))
    assert [(row.level[0], row.left) for row in rows] == [(INTERACTIVE, 16), (BULK, 84)]


def test_ten_thousand_small_jobs_of_one_owner_are_no_more_interactive_than_one() -> None:
    rows = rank(*(backlog(n, images=10, class_=WorkClass.INTERACTIVE) for n in range(1, 7)))
    assert sum(row.left for row in rows if row.level[0] == INTERACTIVE) == 16


def test_interactive_images_in_flight_count_too() -> None:
    rows = rank(
        backlog(1, images=10, class_=WorkClass.INTERACTIVE),
        serving=Serving(1, 1, None, 4, WorkClass.INTERACTIVE),
    )
    assert [row.level[0] for row in rows] == [BULK]


def test_interactive_images_that_take_long_are_fewer() -> None:
    rows = rank(backlog(1, images=100, class_=WorkClass.INTERACTIVE), steps=10)
    assert [(row.level[0], row.left) for row in rows] == [(INTERACTIVE, 3), (BULK, 97)]


def test_one_image_is_interactive_however_long_it_takes() -> None:
    rows = rank(*(backlog(n, images=1, class_=WorkClass.INTERACTIVE) for n in range(1, 4)), steps=500)
    assert sorted(row.level[0] for row in rows) == [INTERACTIVE, BULK, BULK]


def test_nothing_is_interactive_of_who_used_far_more_than_was_due() -> None:
    rows = rank(backlog(1, 1, class_=WorkClass.INTERACTIVE), debtors=((1, None),))
    assert [row.level[0] for row in rows] == [BULK]


def test_a_deadline_is_urgent_when_its_slack_runs_out() -> None:
    rows = rank(backlog(1, images=100, deadline_in=3000), backlog(2, images=100, deadline_in=200))
    assert {row.group.id: row.level[0] for row in rows} == {1: BULK, 2: URGENT}


def test_what_was_not_served_for_long_is_urgent_whatever_its_priority() -> None:
    rows = rank(backlog(1, priority=1, age=901), backlog(2, priority=1, age=899))
    assert {row.group.id: row.level[0] for row in rows} == {1: URGENT, 2: BULK}


def test_what_was_served_recently_has_not_waited_however_old_it_is() -> None:
    rows = rank(backlog(1, age=5000), carried=Carried(planned_at=NOW - 1, served_at={(1, 1, None): NOW - 5}))
    assert [row.level[0] for row in rows] == [BULK]


def test_devices_needed_are_none_while_later_would_do() -> None:
    assert devices_needed(100, 1000, 1, Policy()) == 0
    assert devices_needed(100, 50, 4, Policy()) == 2
    assert devices_needed(100, -1, 4, Policy()) == 4
