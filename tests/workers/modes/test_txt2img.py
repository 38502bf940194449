"""Text to image: each image by its own settings, and a second pass over the enlarged picture."""

from typing import Any

import numpy as np
import pytest

from farm.errors import LeaseLost
from farm.spec.image import TextToImageSpec
from farm.spec.samplers import SAMPLERS
from tests.workers.studios import a_context, a_spec_of
from tests.workers.studios import draw as draw_in
from workers.modes.txt2img import render


def a_small_spec(**fields: Any) -> TextToImageSpec:
    spec: TextToImageSpec = a_spec_of("txt2img", **fields)
    return spec


def draw(*specs: TextToImageSpec) -> np.ndarray:
    return np.stack(draw_in(a_context(), *specs))


def test_an_image_shows_something() -> None:
    assert draw(a_small_spec()).std() > 5


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_an_image_does_not_depend_on_its_neighbours_with_any_sampler(sampler: str) -> None:
    mine = a_small_spec(sampler=sampler, seed=99)
    crowd = [mine, *(a_small_spec(sampler=sampler, seed=seed, prompt="a fox") for seed in range(3))]
    assert np.array_equal(draw(*crowd)[0], draw(mine, mine, mine, mine)[0])


def test_each_image_of_a_batch_has_its_own_guidance() -> None:
    specs = [a_small_spec(guidance_scale=scale) for scale in (1.5, 7, 7, 30)]
    mixed = draw(*specs).astype(int)
    alone = np.concatenate([draw(spec) for spec in specs]).astype(int)
    assert np.abs(mixed - alone).max() <= 2
    assert not np.array_equal(mixed[0], mixed[1])


@pytest.mark.parametrize("scale", [0, 1])
def test_the_negative_prompt_has_no_effect_without_guidance(scale: float) -> None:
    plain, negated = (a_small_spec(guidance_scale=scale, negative_prompt=text) for text in ("", "fog"))
    assert np.array_equal(draw(plain), draw(negated))


@pytest.mark.parametrize("prompt", ["", "word " * 2000, "灯台 🦊", "two\nlines", "(weights:1.2) [and] {brackets}"])
def test_any_prompt_renders(prompt: str) -> None:
    assert draw(a_small_spec(prompt=prompt, negative_prompt=prompt, num_inference_steps=1)).shape == (1, 64, 64, 3)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_each_step_is_reported(sampler: str, steps: int) -> None:
    reported: list[tuple[int, int]] = []
    spec = a_small_spec(sampler=sampler, num_inference_steps=steps)
    render(a_context(), [spec, spec], lambda step, steps: reported.append((step, steps)))
    assert reported == [(step, steps) for step in range(1, steps + 1)]


def test_a_render_that_was_ended_leaves_no_trace_in_the_next() -> None:
    def stop(_step: int, _steps: int) -> None:
        raise LeaseLost

    before = draw(a_small_spec())
    with pytest.raises(LeaseLost):
        render(a_context(), [a_small_spec(sampler="DDIM", guidance_scale=1)], stop)
    assert np.array_equal(draw(a_small_spec()), before)


def test_each_sampler_gives_an_image_of_its_own() -> None:
    images = [draw(a_small_spec(sampler=sampler, num_inference_steps=4)) for sampler in SAMPLERS]
    assert len({image.tobytes() for image in images}) == len(SAMPLERS)


def test_prompts_joined_by_and_pull_by_their_weights() -> None:
    both, fox = a_small_spec(prompt="a fox :1 AND a lighthouse :0"), a_small_spec(prompt="a fox")
    assert np.abs(draw(both).astype(int) - draw(fox)).max() <= 2
    assert not np.array_equal(draw(a_small_spec(prompt="a fox AND a lighthouse")), draw(fox))


def test_prompts_joined_by_and_are_averaged_without_guidance() -> None:
    same, fox = (a_small_spec(prompt=text, guidance_scale=1) for text in ("a fox AND a fox :3", "a fox"))
    assert np.abs(draw(same).astype(int) - draw(fox)).max() <= 2


def test_weights_that_cancel_each_other_harm_no_neighbour() -> None:
    cancelled, plain = (
        a_small_spec(prompt=text, guidance_scale=1) for text in ("a fox :1 AND a dog :-1", "a fox AND a dog")
    )
    assert np.array_equal(draw(plain, cancelled)[0], draw(plain, plain)[0])


def test_a_prompt_changes_at_its_step() -> None:
    late, changed, early = (a_small_spec(prompt=text) for text in ("fog", "[fog:fox:2]", "fox"))
    assert len({draw(spec).tobytes() for spec in (late, changed, early)}) == 3
    never = a_small_spec(prompt="[fog:fox:99]")
    assert np.array_equal(draw(never), draw(late))


@pytest.mark.parametrize(
    "upscaler", ["Latent", "Latent (antialiased)", "Latent (bicubic)", "Latent (nearest)", "Lanczos"]
)
def test_a_second_pass_enlarges_by_any_upscaler(upscaler: str) -> None:
    spec = a_small_spec(hires={"scale": 1.5, "upscaler": upscaler, "strength": 0.7})
    assert draw(spec).shape == (1, 96, 96, 3)


def test_a_second_pass_has_steps_of_its_own_and_those_of_the_first_where_none_are_given() -> None:
    reported: list[int] = []
    for steps, expected in ((None, 3 + 2), (8, 3 + 5)):
        spec = a_small_spec(hires={"scale": 1.5, "num_inference_steps": steps})
        render(a_context(), [spec], lambda _done, in_all: reported.append(in_all))
        assert reported[-1] == expected


def test_each_upscaler_between_the_passes_gives_another_image() -> None:
    names = ["Latent", "Latent (bicubic)", "Latent (nearest)", "Lanczos"]
    images = [draw(a_small_spec(hires={"scale": 1.5, "upscaler": name, "strength": 0.4})) for name in names]
    assert len({image.tobytes() for image in images}) == len(names)
