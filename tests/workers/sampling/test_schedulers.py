"""From a sampler's name to a scheduler: all pairs of the table, against the WebUI's formulas."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import beta

from farm.errors import CannotRender
from farm.spec.samplers import AUTOMATIC, SAMPLERS, schedule_of
from workers.sampling.schedulers import make_scheduler

# The noise schedule of Stable Diffusion, in a config that another sampler has been at.
CONFIG = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "trained_betas": None,
    "prediction_type": "epsilon",
    "clip_sample": True,
    "steps_offset": 7,
    "timestep_spacing": "trailing",
    "use_karras_sigmas": True,
    "use_exponential_sigmas": True,
    "final_sigmas_type": "sigma_min",
    "_class_name": "EulerDiscreteScheduler",
}
PAIRS = [(name, schedule) for name, entry in SAMPLERS.items() for schedule in (AUTOMATIC, *entry.schedules)]
OWN_SCHEDULE = ("DDIM", "PLMS", "UniPC", "LCM")

_ALPHAS = np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)
SIGMAS = np.sqrt((1 - _ALPHAS) / _ALPHAS)
LOWEST, HIGHEST = SIGMAS[0], SIGMAS[-1]


def at(times: np.ndarray) -> Any:
    return np.exp(np.interp(times, np.arange(1000), np.log(SIGMAS)))


def time_of(sigmas: np.ndarray) -> Any:
    return np.interp(np.log(sigmas), np.log(SIGMAS), np.arange(1000))


# What the WebUI computes for n steps, before the last zero.
WEBUI = {
    "Uniform": lambda n: at(np.linspace(999, 0, n)),
    "Normal": lambda n: at(np.linspace(999, 0, n)),
    "Karras": lambda n: (HIGHEST ** (1 / 7) + np.linspace(0, 1, n) * (LOWEST ** (1 / 7) - HIGHEST ** (1 / 7))) ** 7,
    "Exponential": lambda n: np.exp(np.linspace(np.log(HIGHEST), np.log(LOWEST), n)),
    "Polyexponential": lambda n: np.exp(np.linspace(1, 0, n) * np.log(HIGHEST / LOWEST) + np.log(LOWEST)),
    "SGM Uniform": lambda n: at(np.linspace(999, 0, n + 1)[:-1]),
    "Simple": lambda n: SIGMAS[[999 - int(step * 1000 / n) for step in range(n)]],
    "DDIM": lambda n: SIGMAS[[step * (1000 // n) + 1 for step in reversed(range(n))]],
    "Beta": lambda n: LOWEST + beta.ppf(1 - np.linspace(0, 1, n), 0.6, 0.6) * (HIGHEST - LOWEST),
}


def noise(seeds: Sequence[int]) -> torch.Tensor:
    return torch.stack([torch.randn((4, 8, 8), generator=torch.Generator().manual_seed(seed)) for seed in seeds])


def sampled(sampler: str, schedule_type: str, seeds: Sequence[int], steps: int = 4, **config: Any) -> torch.Tensor:
    """Latents after all steps with a denoiser that looks at each image by itself."""
    scheduler = make_scheduler(sampler, schedule_type, {**CONFIG, **config}, seeds, steps)
    scheduler.set_timesteps(steps)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    options = {} if SAMPLERS[sampler].scheduler in NO_GENERATOR else {"generator": generators}
    latents = noise(seeds) * scheduler.init_noise_sigma
    for time in scheduler.timesteps:
        predicted = torch.tanh(scheduler.scale_model_input(latents, time) + time / 1000)
        latents = scheduler.step(predicted, time, latents, **options).prev_sample
    return latents


NO_GENERATOR = (
    *("LMSDiscreteScheduler", "HeunDiscreteScheduler", "KDPM2DiscreteScheduler", "DPMSolverSDEScheduler"),
    *("PNDMScheduler", "UniPCMultistepScheduler"),
)


@pytest.mark.parametrize(("sampler", "schedule_type"), PAIRS)
def test_each_pair_samples(sampler: str, schedule_type: str) -> None:
    assert torch.isfinite(sampled(sampler, schedule_type, [1, 2])).all()


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_each_sampler_takes_its_largest_number_of_steps(sampler: str) -> None:
    latents = sampled(sampler, AUTOMATIC, [1], SAMPLERS[sampler].max_steps)
    assert torch.isfinite(latents).all()
    assert latents.std() > 0.1


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_second_run_gives_the_same_bits(sampler: str) -> None:
    assert torch.equal(sampled(sampler, AUTOMATIC, [1, 2]), sampled(sampler, AUTOMATIC, [1, 2]))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_an_image_depends_neither_on_its_place_in_the_batch_nor_on_its_neighbours(sampler: str) -> None:
    first, last = sampled(sampler, AUTOMATIC, [5, 6, 7, 8]), sampled(sampler, AUTOMATIC, [9, 1, 2, 5])
    assert torch.equal(first[0], last[3])


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_another_seed_gives_another_image(sampler: str) -> None:
    one, other = sampled(sampler, AUTOMATIC, [1, 2])
    assert not torch.allclose(one, other)


@pytest.mark.parametrize(("sampler", "schedule_type"), [pair for pair in PAIRS if pair[0] not in OWN_SCHEDULE])
def test_the_noise_levels_are_those_of_the_webui(sampler: str, schedule_type: str) -> None:
    scheduler = make_scheduler(sampler, schedule_type, CONFIG, [1], 33)
    scheduler.set_timesteps(33)
    # Schedulers with two calls for a step hold most levels twice.
    found = np.unique(scheduler.sigmas.numpy())[::-1]
    assert (found[-1], len(found)) == (0, 34)
    expected = WEBUI[schedule_of(sampler, schedule_type)](33)
    assert np.abs(time_of(found[:-1]) - time_of(expected)).max() < 1.5


@pytest.mark.parametrize("steps", [4, 20, 33])
@pytest.mark.parametrize("schedule_type", SAMPLERS["DDIM"].schedules)
def test_ddim_visits_the_timesteps_of_the_webui(schedule_type: str, steps: int) -> None:
    scheduler = make_scheduler("DDIM", schedule_type, CONFIG, [1], steps)
    scheduler.set_timesteps(steps)
    assert np.abs(scheduler.timesteps.numpy() - time_of(WEBUI[schedule_type](steps))).max() < 1.5


@pytest.mark.parametrize("steps", [2, 20, 33])
def test_unipc_visits_the_noise_levels_of_the_webui_and_ends_at_the_lowest(steps: int) -> None:
    scheduler = make_scheduler("UniPC", AUTOMATIC, CONFIG, [1], steps)
    scheduler.set_timesteps(steps)
    assert np.abs(time_of(scheduler.sigmas.numpy()) - np.linspace(999, 0, steps + 1)).max() < 1


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name not in OWN_SCHEDULE])
def test_a_single_step_starts_from_pure_noise(sampler: str) -> None:
    scheduler = make_scheduler(sampler, AUTOMATIC, CONFIG, [1], 1)
    scheduler.set_timesteps(1)
    assert scheduler.sigmas.max() > HIGHEST * 0.99


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_single_step_samples(sampler: str) -> None:
    assert torch.isfinite(sampled(sampler, AUTOMATIC, [1, 2], steps=1)).all()


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_training_settings_of_the_checkpoint_are_kept(sampler: str) -> None:
    found = make_scheduler(sampler, AUTOMATIC, {**CONFIG, "prediction_type": "v_prediction"}, [1]).config
    assert (found.beta_start, found.beta_end, found.beta_schedule) == (0.00085, 0.012, "scaled_linear")
    assert found.prediction_type == "v_prediction"


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_settings_of_another_sampler_in_the_config_are_ignored(sampler: str) -> None:
    clean = {key: CONFIG[key] for key in ("beta_start", "beta_end", "beta_schedule")}
    found, expected = (dict(make_scheduler(sampler, AUTOMATIC, c, [1]).config) for c in (CONFIG, clean))
    assert {**found, "_use_default_values": None} == {**expected, "_use_default_values": None}


def test_ddim_never_clips_latents() -> None:
    assert make_scheduler("DDIM", AUTOMATIC, CONFIG, [1]).config.clip_sample is False


def test_the_seeds_of_a_batch_decide_the_noise_of_dpm_sde() -> None:
    assert make_scheduler("DPM++ SDE", "Karras", CONFIG, range(3, 5)).noise_sampler_seed == [3, 4]


def test_pure_noise_at_the_start_is_kept_where_the_sampler_knows_it() -> None:
    config = {**CONFIG, "rescale_betas_zero_snr": True}
    assert make_scheduler("Euler", "SGM Uniform", config, [1]).sigmas.max() > 4000
    with pytest.raises(CannotRender, match="zero SNR"):
        make_scheduler("LMS", AUTOMATIC, config, [1])


def test_each_scheduler_is_new() -> None:
    assert make_scheduler("Euler", AUTOMATIC, CONFIG, [1]) is not make_scheduler("Euler", AUTOMATIC, CONFIG, [1])
