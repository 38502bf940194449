"""A pass begins where its strength says, and its steps are counted as users count them."""

import pytest
import torch

from farm.spec.samplers import SAMPLERS
from workers.sampling.schedulers import make_scheduler
from workers.sampling.timesteps import count_steps, plan_timesteps

CONFIG = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000}


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("strength", [0.01, 0.5, 0.75, 1.0])
def test_the_counted_steps_are_those_that_are_run(sampler: str, strength: float) -> None:
    schedule = plan_timesteps(make_scheduler(sampler, "Automatic", CONFIG, [1], 4), 4, strength)
    ends = [call for call in range(len(schedule.timesteps)) if schedule.ends_step(call)]
    assert len(ends) == schedule.steps == count_steps(4, strength)
    assert ends[-1] == len(schedule.timesteps) - 1


@pytest.mark.parametrize(
    ("sampler", "steps"),
    [
        ("Euler", [0, 1, 2, 3]),
        ("Heun", [0, 0, 1, 1, 2, 2, 3]),
        ("DPM2", [0, 0, 1, 1, 2, 2, 3]),
        ("PLMS", [0, 0, 1, 2, 3]),
    ],
)
def test_each_call_of_the_unet_is_counted_to_the_step_it_is_made_for(sampler: str, steps: list[int]) -> None:
    schedule = plan_timesteps(make_scheduler(sampler, "Automatic", CONFIG, [1], 4), 4, 1.0)
    assert [schedule.step_of(call) for call in range(len(schedule.timesteps))] == steps


@pytest.mark.parametrize("sampler", ["DPM++ 2M", "Euler", "LMS", "Heun", "DPM2", "DDIM", "PLMS", "UniPC"])
@pytest.mark.parametrize("strength", [0.1, 0.3, 0.6, 1.0])
def test_a_schedule_begins_at_the_noise_that_the_picture_is_given(sampler: str, strength: float) -> None:
    """A UNet that always sees the very noise that was added leads back to the picture, with none left over."""
    schedule = plan_timesteps(make_scheduler(sampler, "Automatic", CONFIG, [1], 10), 10, strength)
    picture = torch.linspace(-1, 1, 256).view(1, 4, 8, 8)
    noise = torch.randn(picture.shape, generator=torch.Generator().manual_seed(1))
    latents = schedule.add_noise(picture, noise, 0)
    for call, timestep in enumerate(schedule.timesteps):
        schedule.scheduler.scale_model_input(latents, timestep)
        latents = schedule.step(call, noise, latents, [])
    assert torch.allclose(latents, picture, atol=0.13)


def test_a_schedule_begins_in_its_place_although_timesteps_repeat() -> None:
    """Rounded to whole numbers, the last of many Karras timesteps are equal: by them the place cannot be told."""
    for runs in range(1, 15):
        schedule = plan_timesteps(make_scheduler("DPM++ 2M", "Karras", CONFIG, [1], 150), 150, runs / 150)
        latents = torch.zeros(1, 4, 8, 8)
        schedule.step(0, latents, latents, [torch.Generator()])
        assert schedule.scheduler.step_index == 150 - schedule.steps + 1
