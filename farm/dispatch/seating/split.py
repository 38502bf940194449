"""How many devices each checkpoint should have: what is there stays, and only what is owed moves.

A sticky split. The devices on a checkpoint are credited to the accounts that want it. While there is room for
all, a checkpoint should keep what it has and get what its queues ask for. When there is not, an account's lack
or surplus, as a whole, goes to where it is needed most or least. What comes out is never clipped or rescaled:
only differences of more than a device move anything.
"""

from collections.abc import Mapping

from farm.dispatch.demand import Demand
from farm.dispatch.policy import Policy
from farm.dispatch.shares import Key

_CREDIT_OF_NEED = 0.05


def split(demand: Demand, seats: Mapping[int, int], lags: Mapping[Key, float], policy: Policy) -> dict[int, float]:
    """Devices by checkpoint that has work. `seats` are the devices on each checkpoint now."""
    credits = {c: _credit(seats.get(c, 0), allowed) for c, allowed in demand.allowed.items()}
    if not demand.is_saturated:
        return {
            c: sum([max(credited, allowed[key]) for key, credited in credits[c].items()])
            for c, allowed in demand.allowed.items()
        }
    wanted = {c: float(seats.get(c, 0)) for c in demand.allowed}
    for key, places in _by_account(demand.allowed, credits).items():
        owed = demand.rates[key] + lags.get(key, 0.0) / policy.correction_seconds
        lack = owed - sum(credited for _, _, credited in places)
        if lack > 0:
            _spread(lack, places, wanted)
        else:
            _withdraw(-lack, places, wanted)
    return wanted


def _credit(seats: int, allowed: Mapping[Key, float]) -> dict[Key, float]:
    total = sum(allowed.values())
    return {key: seats * devices / total if total else 0.0 for key, devices in allowed.items()}


Place = tuple[int, float, float]
"""A checkpoint, what an account is allowed of it, and what it is credited with."""


def _by_account(
    allowed: Mapping[int, Mapping[Key, float]], credits: Mapping[int, Mapping[Key, float]]
) -> dict[Key, list[Place]]:
    places: dict[Key, list[Place]] = {}
    for c, by_key in allowed.items():
        credit = credits[c]
        for key, devices in by_key.items():
            places.setdefault(key, []).append((c, devices, credit[key]))
    return places


def _spread(lack: float, places: list[Place], wanted: dict[int, float]) -> None:
    """The neediest first: up to what is allowed there, and the rest to the neediest of all."""
    if len(places) > 1:
        places = sorted(places, key=lambda place: (place[2] - place[1], place[0]))
    first = places[0][0]
    for c, devices, credited in places:
        part = min(lack, max(0.0, devices - credited))
        wanted[c] += part
        lack -= part
        if lack <= 0:
            return
    wanted[first] += lack


def _withdraw(surplus: float, places: list[Place], wanted: dict[int, float]) -> None:
    """From where it has most beyond its need, and never more than it is credited with."""
    if len(places) > 1:
        places = sorted(places, key=lambda place: (place[1] - place[2], place[0]))
    for c, _, credited in places:
        part = min(surplus, credited)
        wanted[c] -= part
        surplus -= part
        if surplus <= 0:
            return
