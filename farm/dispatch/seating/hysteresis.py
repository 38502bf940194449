"""How much an owner may be owed before a device changes its checkpoint for it: fairness against reloading.

Whole devices cannot give fractional rates, so they must change places now and then. With a fair rate whose
fractional part is phi, at a load of L seconds, a lag that may grow to theta either way costs about L phi (1 -
phi) / theta devices' time. So for a part rho of the time of D devices theta = L sum(phi (1 - phi)) / (rho D).
The same gives the law: deviation from the fair share over a window W times the part of time spent reloading is
at least about L sum(phi (1 - phi)) / (W x D), x the owner's devices.
"""

from collections.abc import Iterable, Mapping

from farm.dispatch.policy import Policy
from farm.dispatch.shares import Key

_PART = 0.4
"""What of the tolerated deviation a lag may be: it swings both ways within a window, and batches are whole."""


def fractions(rates: Iterable[float]) -> float:
    """The sum of phi (1 - phi): 0 where every rate is a whole number of devices."""
    parts = (rate % 1.0 for rate in rates)
    return sum(part * (1.0 - part) for part in parts)


def law(rates: Iterable[float], load_seconds: float, devices: int, owned: float, policy: Policy) -> float:
    """The least deviation from the fair share over a window, at the part of time for reloading that is allowed."""
    if devices < 1 or owned <= 0:
        return 0.0
    spent = load_seconds * fractions(rates)
    return spent / (policy.window_seconds * owned * devices * policy.reload_share)


def tolerance(rates: Iterable[float], load_seconds: float, devices: int, policy: Policy) -> float:
    """theta: the lag in seconds that the allowed reloading keeps the owners within."""
    return load_seconds * fractions(rates) / (policy.reload_share * max(1, devices))


def tolerances(rates: Mapping[Key, float], theta: float, policy: Policy) -> dict[Key, float]:
    """The lag in seconds at which each account is worth a change: more for those who have more."""
    low = min(max(30.0, theta), policy.lag_limit_seconds)
    return {
        key: max(low, min(_PART * policy.tolerance * policy.window_seconds * rate, policy.lag_limit_seconds))
        for key, rate in rates.items()
    }


def slacks(
    allowed: Mapping[int, Mapping[Key, float]], limits: Mapping[Key, float], policy: Policy
) -> dict[int, float]:
    """By checkpoint, how many devices it may have too few or too many: by those who want a fifth of it or more."""
    found = {}
    for checkpoint, by_key in allowed.items():
        part = 0.2 * sum(by_key.values())
        least = min((limits[key] for key, devices in by_key.items() if devices >= part), default=0.0)
        found[checkpoint] = (least or min(limits[key] for key in by_key)) / (2 * policy.correction_seconds)
    return found
