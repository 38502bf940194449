"""What may be rendered where."""

from dataclasses import replace

import pytest

from farm.dispatch.feasible import find_feasible, suits
from farm.dispatch.snapshot import Device, Group
from tests.farm.dispatch.snapshots import device, group


@pytest.mark.parametrize(
    ("found", "wanted", "is_suited"),
    [
        (device(1), group(1), True),
        (device(1, barred=[1]), group(1), False),
        (device(1, too_large=64), group(1), False),
        (device(1, too_large=65), group(1), True),
        (device(1, too_large=64), replace(group(1), pixels=None), True),
        (replace(device(1), too_large={"sdxl": 64}), group(1), True),
    ],
)
def test_a_device_suits_what_it_is_not_known_to_be_unable_to_render(
    found: Device, wanted: Group, is_suited: bool
) -> None:
    assert suits(found, wanted) is is_suited


def test_devices_that_are_alike_are_one_type() -> None:
    devices = [device(n, memory_bytes=n, too_large=64 + n % 2) for n in range(100)]
    feasible = find_feasible(devices, [group(1)])
    assert feasible.devices_by_type == (50, 50)
    assert feasible.room(feasible.types_by_group[1]) == 50


def test_a_group_that_none_suits_is_left_to_all_and_named() -> None:
    feasible = find_feasible([device(1, barred=[1]), device(2, barred=[1])], [group(1), group(2)])
    assert feasible.unsuited == {1}
    assert feasible.may(1, 1)
