"""Small simulations: what must hold in each, whatever the figures."""

from dataclasses import replace

import pytest

from farm.bench.policy.checks import Checks
from farm.bench.policy.machines import build
from farm.bench.policy.queues import Job
from farm.bench.policy.report import Result, describe, simulate
from farm.bench.policy.scenario import Made, Scenario, Submitted, checkpoints, mixed, owners
from farm.bench.policy.scenarios import SCENARIOS, drain
from farm.bench.policy.simulation import Simulation
from farm.dispatch.planned import Plan
from farm.dispatch.snapshot import Seat, Snapshot

SMALL = Scenario(
    "small",
    (Made(12),),
    checkpoints(5),
    owners(4),
    mixed(0.9, deadlines=0.2, priorities=True),
    hours=0.12,
    warm_seconds=100.0,
)


def figures(result: Result) -> Result:
    """All that does not depend on the machine."""
    return replace(result, plan_p50=0.0, plan_p99=0.0, scenario=SMALL)


@pytest.mark.parametrize(
    "scenario",
    [
        SMALL,
        SMALL.of(name="with deaths", dying=0.25),
        SMALL.of(name="misjudged", estimate_error=0.5),
        SMALL.of(name="shared disks", has_shared_disks=True),
        SMALL.of(name="overload", arrivals=mixed(1.3)),
        SMALL.of(name="several resident", made=(Made(12, slots=3),)),
    ],
    ids=lambda scenario: scenario.name,
)
def test_a_simulation_breaks_no_invariant(scenario: Scenario) -> None:
    assert simulate(scenario, seed=3).broken == ()


@pytest.mark.parametrize("name", ["eight-4", "two-sizes", "cold-interactive", "priorities"])
def test_a_scenario_breaks_no_invariant(name: str) -> None:
    assert simulate(SCENARIOS[name]().of(hours=0.12, warm_seconds=60.0), seed=3).broken == ()


def test_invented_deadlines_get_an_owner_a_tenth_of_the_devices_and_no_more() -> None:
    """The fair share is another tenth."""
    result = simulate(SCENARIOS["gamed-deadlines"]().of(hours=0.3, warm_seconds=300.0), seed=3)
    assert result.broken == ()
    assert result.watched == pytest.approx(0.2, abs=0.02)


def test_single_images_of_many_checkpoints_are_not_all_loaded_by_force() -> None:
    small = {"made": (Made(16),), "groups": checkpoints(53), "hours": 0.2, "warm_seconds": 300.0}
    result = simulate(SCENARIOS["gamed-checkpoints"]().of(**small), seed=3)
    assert result.broken == ()
    assert result.reloading < 0.15


def test_a_drain_ends_although_devices_die() -> None:
    result = simulate(drain(8, dying=0.25), seed=3)
    assert result.broken == ()
    assert 1200 < result.ended_at < 3600


def test_a_simulation_is_the_same_for_the_same_seed() -> None:
    assert figures(simulate(SMALL.of(hours=0.05), seed=5)) == figures(simulate(SMALL.of(hours=0.05), seed=5))


def test_every_scenario_can_be_made() -> None:
    assert all(make().devices > 0 for make in SCENARIOS.values())


def test_a_report_says_what_broke() -> None:
    result = replace(simulate(SMALL.of(hours=0.06), seed=1), broken=("an image was lost",))
    assert "  BROKEN: an image was lost" in describe(result)


def test_checks_find_a_seat_that_does_not_fit() -> None:
    scenario = SCENARIOS["two-sizes"]()
    checks = Checks(scenario)
    known = Snapshot(
        "bench", scenario.groups, (), tuple(m.read() for m in build(scenario).values()), scenario.accounts
    )
    checks.plan(Plan(seats=(Seat(1, 3, 3, 8),)), known, 0.0)
    assert checks.broken == ["device 1 was seated on group 3, which does not fit it"]


def test_checks_find_a_wait_beyond_the_bound() -> None:
    checks = Checks(SMALL)
    checks.bound = 100.0
    checks.is_ready(1, 1, 0.0)
    checks.end([], 101.0)
    assert checks.broken == ["owner 1 waited 101 s for group 1; the bound is 100 s"]


def test_checks_find_a_lost_image() -> None:
    checks = Checks(SMALL)
    checks.end([Job(Submitted(0.0, 1, 1, 8), queued=3, running=2, done=2)], 1.0)
    assert checks.broken == ["a job of 8 images has 3, 2, 2"]


def test_one_plan_in_twenty_is_timed() -> None:
    run = Simulation(SMALL.of(hours=0.05), seed=5)
    tally = run.run()
    assert len(tally.plan_seconds) == run.plans // 20
    assert all(seconds > 0 for seconds in tally.plan_seconds)
