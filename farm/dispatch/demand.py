"""How many devices each account and each checkpoint should have: shares by class and priority, then by checkpoint.

Higher levels (class, then priority) are given what they ask for before lower ones are asked. What an account is
given for urgent work counts in its share of the rest. Work that only few devices can do shares those devices first.
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
    cells = _gather(rows, feasible, policy)
    for row, asked, _ in cells.rows:
        demand.asked[row.key] = demand.asked.get(row.key, 0.0) + asked
    demand.total = sum(demand.asked.values())
    left = float(devices)
    used: dict[Types, float] = {}
    urgent: dict[Key, float] = {}
    for level in sorted(cells.levels):
        capacity, by_types = left, cells.levels[level]
        wanted = {types: {key: cell.asked for key, cell in by_key.items()} for types, by_key in by_types.items()}
        if level[0] == URGENT:
            capacity = min(left, policy.deadline_part * devices)
            wanted = _limit(wanted, _most_urgent(demand, accounts, policy, devices))
        given = _divide_level(wanted, capacity, used, accounts, feasible, urgent)
        for (types, key), devices_given in given.items():
            cell = by_types[types][key]
            cell.part = devices_given / cell.asked
            used[types] = used.get(types, 0.0) + devices_given
            left -= devices_given
            demand.rates[key] = demand.rates.get(key, 0.0) + devices_given
            if level[0] == URGENT:
                urgent[key] = urgent.get(key, 0.0) + devices_given
    demand.allowed = _find_allowed(cells)
    demand.is_saturated = devices - left >= devices - 0.5
    return demand


@dataclass(slots=True)
class _Cells:
    """What is asked for, by level, set of types and account; and each row with what it asks for and its cell."""

    levels: dict[Level, dict[Types, dict[Key, _Cell]]] = field(default_factory=dict)
    rows: list[tuple[Row, float, _Cell]] = field(default_factory=list)


def _gather(rows: Iterable[Row], feasible: Feasible, policy: Policy) -> _Cells:
    cells = _Cells()
    types_by_group, horizon = feasible.types_by_group, policy.horizon_seconds
    found: dict[tuple[Level, Types, Key], _Cell] = {}
    for row in rows:
        key = row.key
        name = row.level, types_by_group[row.group.id], key
        cell = found.get(name)
        if cell is None:
            cell = found[name] = cells.levels.setdefault(name[0], {}).setdefault(name[1], {})[key] = _Cell()
        asked = _asked(row, horizon)
        cell.asked += asked
        cells.rows.append((row, asked, cell))
    return cells


def _find_allowed(cells: _Cells) -> dict[int, dict[Key, float]]:
    allowed: dict[int, dict[Key, float]] = {}
    for row, asked, cell in cells.rows:
        key, checkpoint = row.key, row.group.checkpoint
        by_account = allowed.get(checkpoint)
        if by_account is None:
            by_account = allowed[checkpoint] = {}
        by_account[key] = by_account.get(key, 0.0) + asked * cell.part
    return allowed


def _most_urgent(demand: Demand, accounts: Mapping[Key, Account], policy: Policy, devices: int) -> dict[Key, float]:
    """How many devices each account's urgent work may have before others: what is fair, and a part of all."""
    fair = divide(devices, demand.asked, accounts)
    extra = policy.deadline_extra * devices
    return {key: rate + extra - demand.rates.get(key, 0.0) for key, rate in fair.items()}


def _asked(row: Row, horizon: float) -> float:
    """In devices. Compared one by one: it is asked for every row."""
    devices = row.left * row.seconds / horizon
    if devices < row.must_have:
        devices = row.must_have
    if devices < 1e-6:
        devices = 1e-6
    return devices if row.devices_left is None else min(devices, row.devices_left + 1e-6)


def _limit(wanted: Mapping[Types, Mapping[Key, float]], most: Mapping[Key, float]) -> dict[Types, dict[Key, float]]:
    """Scale what accounts want down to the most that each may be given at a level."""
    totals = _totals(wanted)
    part = {key: min(1.0, max(0.0, most[key]) / total) for key, total in totals.items()}
    return {
        types: {key: devices * part[key] for key, devices in by_key.items()} for types, by_key in wanted.items()
    }


def _totals(wanted: Mapping[Types, Mapping[Key, float]]) -> dict[Key, float]:
    totals: dict[Key, float] = {}
    for by_key in wanted.values():
        for key, devices in by_key.items():
            totals[key] = totals.get(key, 0.0) + devices
    return totals


def _divide_level(
    wanted: Mapping[Types, Mapping[Key, float]],
    capacity: float,
    used: Mapping[Types, float],
    accounts: Mapping[Key, Account],
    feasible: Feasible,
    urgent: Mapping[Key, float],
) -> dict[tuple[Types, Key], float]:
    """Cap what only few types can do by the room there, the fewest first; then divide the whole.

    `urgent` is what each account was given for urgent work, if that was before.
    """
    capped: dict[Types, dict[Key, float]] = {}
    for types in sorted(wanted, key=lambda types: (feasible.room(types), sorted(types))):
        room = feasible.room(types)
        within = sum(devices for other, devices in used.items() if other <= types)
        within += sum(sum(by_key.values()) for other, by_key in capped.items() if other <= types)
        asked = wanted[types]
        if sum(asked.values()) > room - within:
            asked = divide(max(0.0, room - within), asked, accounts, urgent)
        capped[types] = dict(asked)
    totals = _totals(capped)
    rates = divide(max(0.0, capacity), totals, accounts, urgent)
    return {
        (types, key): devices * (rates[key] / totals[key] if totals[key] > 0 else 0.0)
        for types, by_key in capped.items()
        for key, devices in by_key.items()
    }
