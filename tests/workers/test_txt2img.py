"""What txt2img makes of specs: the right shapes, and the same image whatever its company."""

from typing import Any

import numpy as np
import pytest
from diffusers import StableDiffusionPipeline

from farm.errors import LeaseLost
from farm.samplers import SAMPLERS
from farm.specs import TextToImageSpec
from tests.factories import a_spec
from workers.modes.txt2img import render


def a_small_spec(**fields: Any) -> TextToImageSpec:
    return a_spec(**{"width": 64, "height": 64, "num_inference_steps": 3, **fields})


def draw(pipeline: Any, *specs: TextToImageSpec) -> np.ndarray:
    return render(pipeline, specs, lambda _step, _steps: None)


def test_an_image_has_the_size_of_its_spec_in_8_bits(pipeline: StableDiffusionPipeline) -> None:
    images = draw(pipeline, a_small_spec(width=128), a_small_spec(width=128))
    assert (images.shape, images.dtype) == ((2, 64, 128, 3), np.uint8)


def test_an_image_shows_something(pipeline: StableDiffusionPipeline) -> None:
    assert draw(pipeline, a_small_spec()).std() > 5


def test_the_same_spec_gives_the_same_image(pipeline: StableDiffusionPipeline) -> None:
    assert np.array_equal(draw(pipeline, a_small_spec()), draw(pipeline, a_small_spec()))


@pytest.mark.parametrize(
    "change", [{"seed": 2}, {"prompt": "a fox"}, {"negative_prompt": "fog"}, {"guidance_scale": 9}]
)
def test_another_spec_gives_another_image(pipeline: StableDiffusionPipeline, change: dict[str, Any]) -> None:
    assert not np.array_equal(draw(pipeline, a_small_spec()), draw(pipeline, a_small_spec(**change)))


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("place", [0, 1, 2, 3])
def test_an_image_depends_neither_on_its_neighbours_nor_on_its_place(
    pipeline: StableDiffusionPipeline, sampler: str, place: int
) -> None:
    mine = a_small_spec(sampler=sampler, seed=99)
    alike = [a_small_spec(sampler=sampler, seed=99)] * 4
    crowd = [a_small_spec(sampler=sampler, seed=seed, prompt=f"neighbour {seed}") for seed in range(4)]
    crowd[place] = mine
    assert np.array_equal(draw(pipeline, *crowd)[place], draw(pipeline, *alike)[0])


def test_each_image_of_a_batch_has_its_own_guidance(pipeline: StableDiffusionPipeline) -> None:
    specs = [a_small_spec(guidance_scale=scale) for scale in (1.5, 7, 7, 30)]
    mixed = draw(pipeline, *specs).astype(int)
    alone = np.concatenate([draw(pipeline, spec) for spec in specs]).astype(int)
    assert np.abs(mixed - alone).max() <= 2
    assert not np.array_equal(mixed[0], mixed[1])


@pytest.mark.parametrize("scale", [0, 1])
def test_without_guidance_the_negative_prompt_takes_no_part(
    pipeline: StableDiffusionPipeline, scale: float
) -> None:
    plain, negated = (a_small_spec(guidance_scale=scale, negative_prompt=text) for text in ("", "fog"))
    assert np.array_equal(draw(pipeline, plain), draw(pipeline, negated))


@pytest.mark.parametrize("prompt", ["", "word " * 2000, "灯台 🦊", "two\nlines", "(weights:1.2) [and] {brackets}"])
def test_any_prompt_renders(pipeline: StableDiffusionPipeline, prompt: str) -> None:
    assert draw(pipeline, a_small_spec(prompt=prompt, negative_prompt=prompt)).shape == (1, 64, 64, 3)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_each_step_is_reported(pipeline: StableDiffusionPipeline, sampler: str, steps: int) -> None:
    heard: list[tuple[int, int]] = []
    spec = a_small_spec(sampler=sampler, num_inference_steps=steps)
    render(pipeline, [spec, spec], lambda step, steps: heard.append((step, steps)))
    assert heard == [(step, steps) for step in range(1, steps + 1)]


def test_what_the_step_callback_raises_ends_the_call(pipeline: StableDiffusionPipeline) -> None:
    heard: list[int] = []

    def stop_at_two(step: int, _steps: int) -> None:
        heard.append(step)
        if step == 2:
            raise LeaseLost

    with pytest.raises(LeaseLost):
        render(pipeline, [a_small_spec(num_inference_steps=9)], stop_at_two)
    assert heard == [1, 2]


def test_a_call_that_was_ended_leaves_no_trace_in_the_next(pipeline: StableDiffusionPipeline) -> None:
    def stop(_step: int, _steps: int) -> None:
        raise LeaseLost

    before = draw(pipeline, a_small_spec())
    with pytest.raises(LeaseLost):
        render(pipeline, [a_small_spec(sampler="DDIM", guidance_scale=1)], stop)
    assert np.array_equal(draw(pipeline, a_small_spec()), before)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_an_image_does_not_depend_on_the_sampler_used_before(
    pipeline: StableDiffusionPipeline, sampler: str
) -> None:
    spec = a_small_spec(sampler=sampler)
    draw(pipeline, a_small_spec(sampler="Euler"))
    after_euler = draw(pipeline, spec)
    draw(pipeline, a_small_spec(sampler="DPM++ 2M Karras"))
    assert np.array_equal(draw(pipeline, spec), after_euler)


def test_each_sampler_gives_an_image_of_its_own(pipeline: StableDiffusionPipeline) -> None:
    images = [draw(pipeline, a_small_spec(sampler=sampler, num_inference_steps=4)) for sampler in SAMPLERS]
    assert len({image.tobytes() for image in images}) == len(SAMPLERS)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_sampler_renders_its_most_steps(pipeline: StableDiffusionPipeline, sampler: str) -> None:
    spec = a_small_spec(sampler=sampler, num_inference_steps=SAMPLERS[sampler].max_steps)
    assert draw(pipeline, spec).std() > 5
