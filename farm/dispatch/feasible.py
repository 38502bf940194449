"""Which devices may render what: sizes that are known not to fit, exclusions.

Devices that are alike in all of these are one *type*, so that thousands of devices cost no more than a few.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from farm.dispatch.snapshot import Device, Group

Type = tuple[frozenset[int], tuple[tuple[str, int], ...]]


@dataclass(frozen=True, slots=True)
class Feasible:
    """Which types of devices may try a group: those that suit it, or all where none does."""

    type_by_device: Mapping[int, int]
    devices_by_type: tuple[int, ...]
    types_by_group: Mapping[int, frozenset[int]]
    unsuited: frozenset[int]
    """Groups that no device is known to suit: all may try them, so that they do not wait for ever."""

    def may(self, device: int, group: int) -> bool:
        return self.type_by_device[device] in self.types_by_group[group]

    def room(self, types: frozenset[int]) -> int:
        """How many devices there are of these types."""
        return sum(self.devices_by_type[t] for t in types)


def suits(device: Device, group: Group) -> bool:
    """Whether a device is not known to be unable to render a group."""
    if group.checkpoint in device.barred:
        return False
    limit = device.too_large.get(group.family)
    return limit is None or group.pixels is None or group.pixels < limit


def find_feasible(devices: Iterable[Device], groups: Iterable[Group]) -> Feasible:
    """Sort the devices into types, and the groups by the types that may try them."""
    types: dict[Type, int] = {}
    examples: list[Device] = []
    sizes: list[int] = []
    type_by_device = {}
    for device in devices:
        number = types.setdefault(_type(device), len(types))
        if number == len(examples):
            examples.append(device)
            sizes.append(0)
        sizes[number] += 1
        type_by_device[device.id] = number
    everything = frozenset(range(len(examples)))
    types_by_group = {}
    unsuited = set()
    known: dict[tuple[int, str, int | None], frozenset[int]] = {}
    for group in groups:
        need = (group.checkpoint, group.family, group.pixels)
        suited = known.get(need)
        if suited is None:
            suited = known[need] = frozenset(t for t, device in enumerate(examples) if suits(device, group))
        if not suited:
            unsuited.add(group.id)
        types_by_group[group.id] = suited or everything
    return Feasible(type_by_device, tuple(sizes), types_by_group, frozenset(unsuited))


def _type(device: Device) -> Type:
    large = tuple(sorted(device.too_large.items())) if device.too_large else ()
    return device.barred, large
