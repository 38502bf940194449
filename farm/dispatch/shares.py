"""Who may have how much of a pool: weighted max-min fairness between projects, then owners; what they are owed."""

from collections.abc import Mapping, Sequence

from farm.dispatch.policy import Policy
from farm.dispatch.snapshot import Account

Key = tuple[int, int | None]
"""An account: owner and project."""


def divide(capacity: float, demands: Mapping[Key, float], accounts: Mapping[Key, Account]) -> dict[Key, float]:
    """Devices at a time by account: max-min by weight, first between projects, then between their owners.

    `demands` are in devices. An owner without a project stands beside the projects by their own weight.
    """
    projects: dict[Key | int, list[Key]] = {}
    for key in demands:
        projects.setdefault(key if key[1] is None else key[1], []).append(key)
    wants = [sum(demands[key] for key in keys) for keys in projects.values()]
    weights = [_weight_of(accounts, keys[0]) for keys in projects.values()]
    rates: dict[Key, float] = {}
    for keys, most in zip(projects.values(), fill(capacity, wants, weights), strict=True):
        parts = fill(most, [demands[key] for key in keys], [_own_weight(accounts, key) for key in keys])
        rates.update(zip(keys, parts, strict=True))
    return rates


def fill(capacity: float, demands: Sequence[float], weights: Sequence[float]) -> list[float]:
    """min(weight * level, demand) for each, with the level at which they add up to the capacity."""
    if sum(demands) <= capacity:
        return list(demands)
    parts = [0.0] * len(demands)
    total = sum(weights)
    for i in sorted(range(len(demands)), key=lambda i: demands[i] / weights[i]):
        parts[i] = min(demands[i], max(0.0, capacity) * weights[i] / total)
        capacity -= parts[i]
        total = max(total - weights[i], 1e-9)
    return parts


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


def next_lags(
    lags: Mapping[Key, float],
    rates: Mapping[Key, float],
    waiting: Mapping[Key, float],
    policy: Policy,
    *,
    seconds: float,
    is_saturated: bool,
) -> dict[Key, float]:
    """What each account is owed now, `seconds` after the lags were stored.

    Lag is the fair rate integrated minus what was charged (the caller has subtracted that), forgotten by half
    in `half_life_seconds`, recentred over those that wait, and never positive without a backlog. While there is
    room for all, whatever an account used took nothing from others, and lags are forgotten within minutes.
    """
    half_life = policy.half_life_seconds if is_saturated else policy.correction_seconds
    keep = 0.5 ** (seconds / half_life)
    lags = {key: lag * keep + rates.get(key, 0.0) * seconds for key, lag in lags.items()}
    total = sum(rates.get(key, 0.0) for key in waiting)
    if is_saturated and total > 0:
        mean = sum(lags[key] for key in waiting) / total
        lags |= {key: lags[key] - mean * rates.get(key, 0.0) for key in waiting}
    return {key: _clamp(lag, rates.get(key, 0.0), key in waiting, policy) for key, lag in lags.items()}


def _clamp(lag: float, rate: float, is_waiting: bool, policy: Policy) -> float:
    most = policy.lag_limit_seconds * max(1.0, rate)
    return max(-most, min(lag, most if is_waiting else 0.0))


def _own_weight(accounts: Mapping[Key, Account], key: Key) -> float:
    return max(accounts[key].weight, 1e-3)


def _weight_of(accounts: Mapping[Key, Account], key: Key) -> float:
    account = accounts[key]
    return max(account.weight if key[1] is None else account.project_weight, 1e-3)
