"""The drills: the farm as it is under all faults, and two farms that lack a safeguard, which must be found out."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from tests.chaos.faults import FAULTS, Fault, kill_host, replace_host, stop_child_past_lease
from tests.chaos.run import Drill, Outcome
from tests.chaos.stage import Plan

ABLATION_SECONDS = 5.0


_READS: Mapping[str, Any] = {"read_share": 0.5, "checkpoints": 4}
"""Half of the jobs read the store for themselves, and weights are read again and again: a cache holds 2 of 4."""


def full(seed: int, seconds: float, lease_seconds: float = 4.0) -> Drill:
    """Every fault against the farm as it is."""
    return Drill(_cramped(seed, lease_seconds), seconds, **_READS)


def dense(seed: int) -> Drill:
    """The same in little time: each fault about once."""
    return Drill(_cramped(seed, 2.0), 12.0, pause_seconds=(0.3, 1.0), backlog=30, **_READS)


def store_away(seed: int) -> Drill:
    """Nothing but faults of the store, and caches that are empty meanwhile: reads meet them all."""
    faults = {name: FAULTS[name] for name in FAULTS if name.startswith("storage")}
    faults["loss of a host with its cache"] = replace_host
    plan = replace(_cramped(seed, 4.0), hosts=2, skewed_hosts=0, lost_rings=0.0)
    return Drill(plan, 10.0, faults, pause_seconds=(0.2, 0.5), backlog=30, action_share=0.0, **_READS)


def _cramped(seed: int, lease_seconds: float) -> Plan:
    return Plan(seed=seed, lease_seconds=lease_seconds, cached_checkpoints=2)


@dataclass(frozen=True)
class Ablation:
    """A farm without one safeguard, and the figure of the verdict that must show it."""

    missing: str
    drill: Drill
    symptom: str

    def shown_by(self, outcome: Outcome) -> int:
        return int(getattr(outcome.verdict, self.symptom))


def no_fence(seed: int) -> Ablation:
    """Zombies publish: one worker, stopped past its lease, holds a batch that another renders meanwhile."""
    faults = {"child stopped past its lease, then continued": stop_child_past_lease}
    return Ablation("the fence", _aimed(_busy(seed, keepers=1, is_fenced=False), faults), "stored_twice")


def no_keeper(seed: int) -> Ablation:
    """Nobody takes back what a lost host held."""
    faults = {"loss of a host (parent and child)": kill_host}
    return Ablation("the keeper", _aimed(_busy(seed, keepers=0), faults), "stuck")


def _busy(seed: int, *, keepers: int, is_fenced: bool = True) -> Plan:
    """Renders are long against everything else: whenever a fault strikes, it strikes one."""
    return Plan(
        seed=seed,
        keepers=keepers,
        hosts=2,
        lease_seconds=2.0,
        step_seconds=0.15,
        skewed_hosts=0,
        is_fenced=is_fenced,
    )


def _aimed(plan: Plan, faults: Mapping[str, Fault]) -> Drill:
    return Drill(
        plan,
        ABLATION_SECONDS,
        faults,
        pause_seconds=(1.5, 2.5),
        backlog=30,
        images=(8, 12),
        action_share=0.0,
        keeps_logs=False,
    )
