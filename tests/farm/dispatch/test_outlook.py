"""Why things wait, and when they may start."""

import pytest

from farm.dispatch.plan import plan
from farm.dispatch.planned import Outlook, WaitReason
from farm.dispatch.snapshot import Snapshot
from tests.farm.dispatch.snapshots import NOW, backlog, device, snapshot


def outlook(known: Snapshot, group: int) -> Outlook:
    return next(found for found in plan(known, NOW).outlooks if found.group == group)


@pytest.mark.parametrize(
    ("known", "reason"),
    [
        (snapshot([], [backlog(1)]), WaitReason.NO_DEVICE),
        (snapshot([device(1, barred=[1])], [backlog(1)]), WaitReason.UNSUITED),
        (snapshot([device(1, 1)], [backlog(1, max_devices=0)]), WaitReason.LIMITED),
        (snapshot([device(1, 1)], [backlog(1)]), WaitReason.RUNS_NEXT),
        (snapshot([device(1, 2)], [backlog(1, images=99)]), WaitReason.LOADING),
        (snapshot([device(1, 2)], [backlog(1, images=2, age=1)]), WaitReason.COLD),
        (snapshot([device(1, 2)], [backlog(1, 1, 900, age=1), backlog(2, 2, 900)]), WaitReason.SHARE),
    ],
)
def test_a_reason_names_what_holds_the_work_up(known: Snapshot, reason: WaitReason) -> None:
    assert outlook(known, 1).reason is reason


def test_what_runs_next_starts_when_its_device_is_free() -> None:
    found = outlook(snapshot([device(1, 1, free_in=1.5)], [backlog(1)]), 1)
    assert (found.starts_in_low, found.starts_in_high) == (1.5, 9.5)


def test_what_has_to_be_loaded_starts_after_that() -> None:
    assert outlook(snapshot([device(1, 2)], [backlog(1, images=99)]), 1).starts_in_low == 15


def test_nobody_can_say_when_work_without_a_device_starts() -> None:
    found = outlook(snapshot([], [backlog(1)]), 1)
    assert (found.starts_in_low, found.starts_in_high) == (None, None)


def test_the_pace_is_that_of_the_devices_that_are_there() -> None:
    assert outlook(snapshot([device(1, 1), device(2, 1)], [backlog(1, images=9000)]), 1).images_per_second == 2
