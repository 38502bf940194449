"""The farm keeps its promises under faults; and a farm that lacks a safeguard is found out by the same harness."""

from tests.chaos import drills
from tests.chaos.run import carry_out


def test_no_promise_breaks_under_any_fault() -> None:
    outcome = carry_out(drills.dense(seed=7))
    assert outcome.broken == (), outcome.logs
    assert outcome.verdict.statuses["succeeded"] > 0


def test_no_image_fails_for_a_fault_of_the_store() -> None:
    """Weights, uploaded pictures and the images of sweeps are read while it misbehaves."""
    outcome = carry_out(drills.store_away(seed=7))
    assert outcome.broken == (), outcome.logs
    assert outcome.verdict.statuses["succeeded"] > 0
    assert outcome.verdict.grids > 0


def test_a_farm_without_its_fence_stores_images_twice() -> None:
    ablation = drills.no_fence(seed=7)
    assert ablation.shown_by(carry_out(ablation.drill)) > 0


def test_a_farm_without_a_keeper_gets_stuck() -> None:
    ablation = drills.no_keeper(seed=7)
    assert ablation.shown_by(carry_out(ablation.drill)) > 0
