"""How many devices each account and each checkpoint should have: shares by class and priority, then by checkpoint.

Higher levels (class, then priority) are given what they ask for before lower ones are asked. Work that only few
devices can do shares those devices first.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from farm.dispatch.classes import URGENT, Level, Row
from farm.dispatch.feasible import Feasible
from farm.dispatch.policy import Policy
from farm.dispatch.shares import Key, divide
from farm.dispatch.snapshot import Account

Types = frozenset[int]


@dataclass(slots=True)
class Demand:
    """Rates in devices at a time by account; what is asked for, and what of it the shares allow, by checkpoint."""

    rates: dict[Key, float] = field(default_factory=dict)
    asked: dict[Key, float] = field(default_factory=dict)
    allowed: dict[int, dict[Key, float]] = field(default_factory=dict)
    """By checkpoint and account, in devices."""
    total: float = 0.0
    is_saturated: bool = False


@dataclass(slots=True, eq=False)
class _Cell:
    """What rows of one level, account and set of types ask for together, and the part that they are given."""

    asked: float = 0.0
    part: float = 0.0


def find_demand(
    rows: Iterable[Row], accounts: Mapping[Key, Account], feasible: Feasible, policy: Policy, devices: int
) -> Demand:
    """Divide `devices` among the rows."""
    demand = Demand()
    levels: dict[Level, dict[Types, dict[Key, _Cell]]] = {}
    cells: list[tuple[Row, float, _Cell]] = []
    types_by_group, horizon = feasible.types_by_group, policy.horizon_seconds
    found: dict[tuple[Level, Types, Key], _Cell] = {}
    for row in rows:
        key = row.key
        name = row.level, types_by_group[row.group.id], key
        cell = found.get(name)
        if cell is None:
            cell = found[name] = levels.setdefault(name[0], {}).setdefault(name[1], {})[key] = _Cell()
        asked = _asked(row, horizon)
        cell.asked += asked
        cells.append((row, asked, cell))
    demand.total = sum(asked for _, asked, _ in cells)
    left = float(devices)
    used: dict[Types, float] = {}
    for level in sorted(levels):
        capacity = min(left, policy.deadline_part * devices) if level[0] == URGENT else left
        wanted = {
            types: {key: cell.asked for key, cell in by_key.items()} for types, by_key in levels[level].items()
        }
        given = _divide_level(wanted, capacity, used, accounts, feasible)
        for (types, key), devices_given in given.items():
            cell = levels[level][types][key]
            cell.part = devices_given / cell.asked
            used[types] = used.get(types, 0.0) + devices_given
            left -= devices_given
            demand.rates[key] = demand.rates.get(key, 0.0) + devices_given
    allowed, asked_by_key = demand.allowed, demand.asked
    for row, asked, cell in cells:
        key, checkpoint = row.key, row.group.checkpoint
        asked_by_key[key] = asked_by_key.get(key, 0.0) + asked
        by_account = allowed.get(checkpoint)
        if by_account is None:
            by_account = allowed[checkpoint] = {}
        by_account[key] = by_account.get(key, 0.0) + asked * cell.part
    demand.is_saturated = devices - left >= devices - 0.5
    return demand


def _asked(row: Row, horizon: float) -> float:
    """In devices. Compared one by one: it is asked for every row."""
    devices = row.left * row.seconds / horizon
    if devices < row.must_have:
        devices = row.must_have
    if devices < 1e-6:
        devices = 1e-6
    return devices if row.devices_left is None else min(devices, row.devices_left + 1e-6)


def _divide_level(
    wanted: Mapping[Types, Mapping[Key, float]],
    capacity: float,
    used: Mapping[Types, float],
    accounts: Mapping[Key, Account],
    feasible: Feasible,
) -> dict[tuple[Types, Key], float]:
    """Cap what only few types can do by the room there, the fewest first; then divide the whole."""
    capped: dict[Types, dict[Key, float]] = {}
    for types in sorted(wanted, key=lambda types: (feasible.room(types), sorted(types))):
        room = feasible.room(types)
        within = sum(devices for other, devices in used.items() if other <= types)
        within += sum(sum(by_key.values()) for other, by_key in capped.items() if other <= types)
        asked = wanted[types]
        if sum(asked.values()) > room - within:
            asked = divide(max(0.0, room - within), asked, accounts)
        capped[types] = dict(asked)
    totals: dict[Key, float] = {}
    for by_key in capped.values():
        for key, devices in by_key.items():
            totals[key] = totals.get(key, 0.0) + devices
    rates = divide(max(0.0, capacity), totals, accounts)
    return {
        (types, key): devices * (rates[key] / totals[key] if totals[key] > 0 else 0.0)
        for types, by_key in capped.items()
        for key, devices in by_key.items()
    }
