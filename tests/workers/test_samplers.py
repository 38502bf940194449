"""From a sampler's name to a scheduler."""

from typing import Any

import pytest
from diffusers import StableDiffusionPipeline

from farm.samplers import SAMPLERS
from workers.samplers import make_scheduler, sampling


@pytest.fixture
def config(pipeline: StableDiffusionPipeline) -> Any:
    return pipeline.scheduler.config


@pytest.mark.parametrize("name", SAMPLERS)
def test_each_sampler_is_the_scheduler_of_the_table(config: Any, name: str) -> None:
    scheduler = make_scheduler(name, config)
    assert type(scheduler).__name__ == SAMPLERS[name].scheduler
    assert {key: scheduler.config[key] for key in SAMPLERS[name].settings} == SAMPLERS[name].settings


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_noise_schedule_is_the_checkpoints(config: Any, name: str) -> None:
    found = make_scheduler(name, {**config, "prediction_type": "v_prediction"}).config
    assert (found.beta_start, found.beta_end, found.beta_schedule) == (0.00085, 0.012, "scaled_linear")
    assert found.prediction_type == "v_prediction"


def test_each_scheduler_is_new(config: Any) -> None:
    assert make_scheduler("Euler", config) is not make_scheduler("Euler", config)


def test_ddim_never_clips_latents(config: Any) -> None:
    without = {key: value for key, value in config.items() if key != "clip_sample"}
    assert make_scheduler("DDIM", without).config.clip_sample is False


def test_a_pipeline_has_its_own_scheduler_again_after_a_call(pipeline: StableDiffusionPipeline) -> None:
    own = pipeline.scheduler
    with sampling(pipeline, "Euler a"):
        assert type(pipeline.scheduler).__name__ == "EulerAncestralDiscreteScheduler"
    assert pipeline.scheduler is own
