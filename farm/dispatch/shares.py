"""Who may have how much of a pool: weighted max-min fairness between projects, then owners."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from farm.dispatch.snapshot import Account

Key = tuple[int, int | None]
"""An account: owner and project."""


def divide(
    capacity: float,
    demands: Mapping[Key, float],
    accounts: Mapping[Key, Account],
    given: Mapping[Key, float] = MappingProxyType({}),
) -> dict[Key, float]:
    """Devices at a time by account: max-min by weight, first between projects, then between their owners.

    `demands` are in devices. An owner without a project stands beside the projects by their own weight. What was
    `given` to an account before counts: who has much already gets less of the rest.
    """
    projects: dict[Key | int, list[Key]] = {}
    for key in demands:
        projects.setdefault(_project_of(key), []).append(key)
    held: dict[Key | int, float] = {}
    for key, devices in given.items():
        held[_project_of(key)] = held.get(_project_of(key), 0.0) + devices
    wants = [sum(demands[key] for key in keys) for keys in projects.values()]
    weights = [_weight_of(accounts, keys[0]) for keys in projects.values()]
    rates: dict[Key, float] = {}
    parts = fill(capacity, wants, weights, [held.get(name, 0.0) for name in projects])
    for keys, most in zip(projects.values(), parts, strict=True):
        own = [_own_weight(accounts, key) for key in keys]
        each = fill(most, [demands[key] for key in keys], own, [given.get(key, 0.0) for key in keys])
        rates.update(zip(keys, each, strict=True))
    return rates


def fill(
    capacity: float, demands: Sequence[float], weights: Sequence[float], given: Sequence[float]
) -> list[float]:
    """Parts that add up to the capacity, or the demands if those are less.

    Each part is what lifts `given + part` to weight * level, the same level for all, and at most what is demanded.
    """
    if sum(demands) <= capacity:
        return list(demands)
    starts = [(have / weight, weight) for have, weight in zip(given, weights, strict=True)]
    ends = [
        ((have + demand) / weight, -weight) for have, demand, weight in zip(given, demands, weights, strict=True)
    ]
    level = slope = filled = 0.0
    for at, change in sorted(starts + ends):
        more = slope * (at - level)
        if filled + more >= capacity:
            break
        level, slope, filled = at, slope + change, filled + more
    level += max(0.0, capacity - filled) / max(slope, 1e-9)
    return [
        min(demand, max(0.0, weight * level - have))
        for demand, weight, have in zip(demands, weights, given, strict=True)
    ]


def effective_weights(keys: Sequence[Key], accounts: Mapping[Key, Account]) -> dict[Key, float]:
    """What each account weighs among all of these: its project's weight, divided between the project's owners."""
    sums: dict[int, float] = {}
    for key in keys:
        if key[1] is not None:
            sums[key[1]] = sums.get(key[1], 0.0) + _own_weight(accounts, key)
    return {
        key: _own_weight(accounts, key)
        if key[1] is None
        else _weight_of(accounts, key) * _own_weight(accounts, key) / sums[key[1]]
        for key in keys
    }


def _project_of(key: Key) -> Key | int:
    return key if key[1] is None else key[1]


def _own_weight(accounts: Mapping[Key, Account], key: Key) -> float:
    return max(accounts[key].weight, 1e-3)


def _weight_of(accounts: Mapping[Key, Account], key: Key) -> float:
    account = accounts[key]
    return max(account.weight if key[1] is None else account.project_weight, 1e-3)
