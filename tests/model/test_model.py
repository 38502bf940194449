"""The farm does what a simple model says, whatever happens to it and in whatever order."""

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.factories import Scene
from tests.model.machine import FarmMachine

BRIEF = settings(max_examples=18, stateful_step_count=40, derandomize=True)


def test_the_farm_does_what_the_model_says(scene: Scene) -> None:
    chosen = settings() if settings.get_current_profile_name() == "model" else BRIEF
    run_state_machine_as_test(
        lambda: FarmMachine(scene),
        settings=settings(chosen, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True),
    )
