"""The trade of fairness against reloading: the same farm at several values of the setting."""

from collections.abc import Iterator
from dataclasses import replace

from farm.bench.policy.report import Result, simulate
from farm.bench.policy.scenarios import SCENARIOS

SETTINGS = (0.003, 0.01, 0.03, 0.1, 0.3)
CASES = ("eight-4", "eight-60", "weights-8")


def measure_curve(seed: int, hours: float) -> Iterator[tuple[str, float, Result]]:
    """By case, the setting and what it comes to, one after another as they are measured."""
    for name in CASES:
        scenario = SCENARIOS[name]().of(hours=hours)
        for part in SETTINGS:
            yield name, part, simulate(scenario.of(policy=replace(scenario.policy, reload_share=part)), seed)
