"""What each account is owed, and what it took beyond its due: both in GPU-seconds, within limits."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from farm.dispatch.policy import Policy
from farm.dispatch.shares import Key, effective_weights
from farm.dispatch.snapshot import Account


def equal_shares(accounts: Mapping[Key, Account], waiting: Collection[Key], devices: int) -> dict[Key, float]:
    """Devices at a time that each account would have if all who wait wanted more than there is.

    For one that does not wait: if it did, too.
    """
    weights = effective_weights(list(accounts), accounts)
    total = sum(weights[key] for key in waiting)
    return {
        key: devices * weight / (total if key in waiting else total + weight) for key, weight in weights.items()
    }


@dataclass(frozen=True, slots=True)
class Passed:
    """The time since lags and debts were stored, and whether there is not room for all."""

    seconds: float
    is_saturated: bool

    def keep(self, policy: Policy) -> float:
        """The part that is not forgotten.

        While there is room for all, whatever an account used took nothing from others: that is forgotten within
        minutes.
        """
        half_life = policy.half_life_seconds if self.is_saturated else policy.correction_seconds
        part: float = 0.5 ** (self.seconds / half_life)
        return part


def next_debts(
    debts: Mapping[Key, float],
    accounts: Mapping[Key, Account],
    dues: Mapping[Key, float],
    passed: Passed,
    policy: Policy,
) -> dict[Key, float]:
    """What each account has used beyond its due by now, without those that have not.

    Its due is its rate, in devices, and at least an equal share: a small queue or a low priority makes no debts.
    The devices that it uses beyond that add up while there is not room for all, to the lag limit in seconds of
    those devices. What it leaves of its due pays its debt off.
    """
    found = {}
    for key, account in accounts.items():
        debt = debts.get(key, 0.0) * passed.keep(policy)
        more = (account.running_devices - dues[key]) * passed.seconds
        if more < 0:
            debt += more
        elif passed.is_saturated:
            debt = max(debt, min(debt + more, policy.lag_limit_seconds * account.running_devices))
        if debt > 0:
            found[key] = debt
    return found


def debt_seconds(debt: float, due: float) -> float:
    """A debt in seconds of what is due (of one device, if that is less)."""
    return debt / max(1.0, due)


def next_lags(
    accounts: Mapping[Key, Account],
    rates: Mapping[Key, float],
    waiting: Collection[Key],
    debts: Mapping[Key, float],
    passed: Passed,
    policy: Policy,
) -> dict[Key, float]:
    """What each account is owed now.

    Lag is the fair rate integrated minus what was charged (the caller has subtracted that), forgotten by half
    in `half_life_seconds`, recentred over those that wait, and never positive without a backlog.
    """
    keep = passed.keep(policy)
    if not passed.is_saturated:
        rates = {key: account.running_devices for key, account in accounts.items()}
    lags = {key: account.lag * keep + rates.get(key, 0.0) * passed.seconds for key, account in accounts.items()}
    total = sum(rates.get(key, 0.0) for key in waiting)
    if passed.is_saturated and total > 0:
        mean = sum(lags[key] for key in waiting) / total
        lags |= {key: lags[key] - mean * rates.get(key, 0.0) for key in waiting}
    return {
        key: _clamp(lag, rates.get(key, 0.0), debts.get(key, 0.0), key in waiting, policy)
        for key, lag in lags.items()
    }


def _clamp(lag: float, rate: float, debt: float, is_waiting: bool, policy: Policy) -> float:
    """What was used beyond its due stays owed, however little an account asks for now."""
    most = policy.lag_limit_seconds * max(1.0, rate)
    return max(-max(most, debt), min(lag, most if is_waiting else 0.0))
