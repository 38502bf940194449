"""How far each owner was from the fair share of what was rendered."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Deviation:
    """The mean over owners and the worst of (got - fair) / fair, both without their sign."""

    mean: float
    worst: float


def deviation(got: Mapping[int, float], wanted: Mapping[int, float]) -> Deviation:
    """Compare what owners got, in GPU-seconds, with the max-min fair division of the same sum.

    `wanted` is how much work each had at most: who wanted little gets all of it, and the rest is divided equally.
    """
    total = sum(got.values())
    level = find_level(list(wanted.values()), total)
    fair = {owner: min(level, work) for owner, work in wanted.items() if work > 0}
    found = [abs(got.get(owner, 0.0) - share) / share for owner, share in fair.items()]
    return Deviation(sum(found) / len(found), max(found)) if found else Deviation(0.0, 0.0)


def find_level(wanted: Sequence[float], total: float) -> float:
    """The level up to which so much in all fills everybody's wish; the largest wish where it fills all."""
    left, level = total, 0.0
    ordered = sorted(wanted)
    for number, wish in enumerate(ordered):
        level = min(wish, left / (len(ordered) - number))
        if level < wish:
            return level
        left -= wish
    return level
