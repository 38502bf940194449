"""What one simulation comes to, as figures and as lines of text."""

from dataclasses import dataclass

from farm.bench.policy.scenario import Scenario
from farm.bench.policy.simulation import Simulation
from farm.bench.policy.tally import Tally, percentile
from farm.dispatch.snapshot import WorkClass

_PARTS = (0.5, 0.95, 0.99, 1.0)


@dataclass(frozen=True, slots=True)
class Result:
    """Parts are of device time after the warm-up; deviations are of shares over whole windows.

    `waits` are the p50, p95, p99 and longest of an image until its rendering begins, in seconds, by class.
    `worst` is the deviation that is furthest beyond what the law allows, and what it allows there (None: no owner's
    share bound them for a window). `watched` is the part of the scenario's watched owner. `gap` is an owner's
    longest wait for a checkpoint, `bound` what is stated.
    """

    scenario: Scenario
    reloading: float
    rendering: float
    batch: float
    saturated: float
    worst: tuple[float, float] | None
    watched: float | None
    waits: dict[WorkClass, tuple[float, ...]]
    late: int
    dated: int
    gap: float
    bound: float
    plan_p50: float
    plan_p99: float
    ended_at: float
    broken: tuple[str, ...]


def simulate(scenario: Scenario, seed: int) -> Result:
    """Run a scenario."""
    run = Simulation(scenario, seed)
    tally = run.run()
    seconds = tally.device_seconds or 1.0
    return Result(
        scenario=scenario,
        reloading=tally.load_seconds / seconds,
        rendering=tally.render_seconds / seconds,
        batch=tally.images / tally.claims if tally.claims else 0.0,
        saturated=tally.saturated_seconds / max(1.0, run.now - scenario.warm_seconds),
        worst=_worst(tally),
        watched=None if scenario.watched is None else tally.seconds_of(scenario.watched) / seconds,
        waits={class_: _waits(tally, class_) for class_ in WorkClass if tally.waits.get(class_)},
        late=tally.late,
        dated=tally.dated,
        gap=run.checks.longest,
        bound=run.checks.bound,
        plan_p50=percentile(tally.plan_seconds, 0.5),
        plan_p99=percentile(tally.plan_seconds, 0.99),
        ended_at=run.now,
        broken=tuple(run.checks.broken),
    )


def describe(result: Result) -> list[str]:
    """The figures of one run, for people."""
    times = f"reloading {100 * result.reloading:.2f} %, rendering {100 * result.rendering:.1f} %"
    lines = [
        result.scenario.name,
        f"  {times}, mean batch {result.batch:.2f}, saturated {100 * result.saturated:.0f} % of the time",
    ]
    if result.worst is not None:
        deviation, allowed = result.worst
        lines.append(f"  worst share over 10 minutes {100 * deviation:+.1f} %, allowed +-{100 * allowed:.1f} %")
    if result.watched is not None:
        lines.append(f"  owner {result.scenario.watched} had {100 * result.watched:.1f} % of the device time")
    for class_, waits in result.waits.items():
        lines.append(f"  wait, {class_}: p50/p95/p99/longest " + "/".join(f"{wait:.0f}" for wait in waits) + " s")
    if result.dated:
        lines.append(f"  deadlines missed: {result.late} of {result.dated}")
    lines.append(f"  longest wait for a checkpoint {result.gap:.0f} s, bound {result.bound:.0f} s")
    plan = f"p50 {1000 * result.plan_p50:.1f} ms, p99 {1000 * result.plan_p99:.1f} ms"
    lines.append(f"  a plan: {plan} of CPU time (of one in 20, each the least of 5 tries)")
    lines.extend(f"  BROKEN: {what}" for what in result.broken)
    return lines


def _worst(tally: Tally) -> tuple[float, float] | None:
    found = tally.deviations()
    if not found:
        return None
    deviation, allowed, _ = max(found, key=lambda entry: abs(entry[0]) - entry[1])
    return deviation, allowed


def _waits(tally: Tally, class_: WorkClass) -> tuple[float, ...]:
    return tuple(wait for part in _PARTS if (wait := tally.wait(class_, part)) is not None)
