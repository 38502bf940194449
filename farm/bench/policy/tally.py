"""What a simulation measures: device time, waits by class, shares of owners, time of planning."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from farm.dispatch.planned import Figures
from farm.dispatch.policy import Policy
from farm.dispatch.seating.hysteresis import law
from farm.dispatch.snapshot import WorkClass

_WAIT_STEPS = 4
"""Waits are counted in quarters of a second."""


@dataclass(slots=True)
class Tally:
    """Sums since `warm`; windows count from there."""

    policy: Policy
    warm: float
    load_seconds: float = 0.0
    render_seconds: float = 0.0
    device_seconds: float = 0.0
    claims: int = 0
    images: int = 0
    loads: int = 0
    saturated_seconds: float = 0.0
    late: int = 0
    dated: int = 0
    waits: dict[WorkClass, Counter[int]] = field(default_factory=dict)
    plan_seconds: list[float] = field(default_factory=list)
    moves: int = 0
    served: dict[tuple[int, int], float] = field(default_factory=dict)
    """Device seconds by window and owner."""
    fair: dict[tuple[int, int], float] = field(default_factory=dict)
    busy: Counter[tuple[int, int]] = field(default_factory=Counter)
    """In how many plans of a window an owner had work while there was not room for all."""
    plans: Counter[int] = field(default_factory=Counter)
    rates: dict[int, tuple[tuple[float, ...], int, float]] = field(default_factory=dict)

    def add_batch(self, begins: float, loaded: float, ends: float, owners: Mapping[int, float]) -> None:
        """Device time from `begins` to `loaded` for loading, then to `ends` for rendering; owners by their part."""
        self.load_seconds += max(0.0, loaded - max(begins, self.warm))
        self.render_seconds += max(0.0, ends - max(loaded, self.warm))
        window = self.policy.window_seconds
        first = max(begins, self.warm)
        while first < ends:
            number = int((first - self.warm) // window)
            last = min(ends, self.warm + (number + 1) * window)
            for owner, part in owners.items():
                self.served[number, owner] = self.served.get((number, owner), 0.0) + (last - first) * part
            first = last

    def seconds_of(self, owner: int) -> float:
        """The device seconds that an owner had."""
        return sum(seconds for (_, served), seconds in self.served.items() if served == owner)

    def add_wait(self, class_: WorkClass, seconds: float, images: int) -> None:
        self.waits.setdefault(class_, Counter())[int(seconds * _WAIT_STEPS)] += images

    def add_plan(self, now: float, rates: Mapping[int, float], bound: Iterable[int], figures: Figures) -> None:
        """One plan's fair rates, and whom they bound, for the second that follows it."""
        if now < self.warm:
            return
        is_saturated, devices, load_seconds = figures.is_saturated, figures.devices, figures.load_seconds
        number = int((now - self.warm) // self.policy.window_seconds)
        period = self.policy.period_seconds
        self.plans[number] += 1
        self.saturated_seconds += period * is_saturated
        self.rates[number] = tuple(rates.values()), devices, load_seconds
        for owner in bound:
            self.fair[number, owner] = self.fair.get((number, owner), 0.0) + rates.get(owner, 0.0) * period
            self.busy[number, owner] += is_saturated

    def deviations(self) -> list[tuple[float, float, int]]:
        """By window and owner whose share bound them throughout: how far off it, and what the law allows."""
        found = []
        window = self.policy.window_seconds
        for (number, owner), fair in self.fair.items():
            plans = self.plans[number]
            if plans < window / self.policy.period_seconds - 1 or self.busy[number, owner] < plans or fair <= 0:
                continue
            rates, devices, load_seconds = self.rates[number]
            allowed = max(self.policy.tolerance, law(rates, load_seconds, devices, fair / window, self.policy))
            found.append((self.served.get((number, owner), 0.0) / fair - 1, allowed, owner))
        return found

    def wait(self, class_: WorkClass, part: float) -> float | None:
        """The wait in seconds that this part of the images did not exceed; None if there were none."""
        counts = self.waits.get(class_)
        if not counts:
            return None
        rest = part * counts.total()
        for steps in sorted(counts):
            rest -= counts[steps]
            if rest <= 0:
                break
        return steps / _WAIT_STEPS


def percentile(values: Iterable[float], part: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else 0.0
