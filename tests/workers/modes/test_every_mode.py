"""What holds for every mode: the asked size, the same image again in any company, and steps that are counted."""

from typing import Any

import numpy as np
import pytest

from farm.errors import LeaseLost
from farm.spec.families import FAMILIES
from farm.spec.modes import MODES
from tests.workers.studios import a_context, a_mask, a_picture, a_spec_of, draw, upload
from workers.modes import RENDERS

PICTURE = upload(a_picture(80, 72))
OTHER = upload(a_picture(80, 72, seed=1))
MASK = upload(a_mask((80, 72), (20, 16, 44, 40)))
SAMPLER = {"sampler": "Euler a"}

CASES: dict[str, dict[str, Any]] = {
    "txt2img": {"mode": "txt2img", "width": 72},
    "hires": {"mode": "txt2img", "hires": {"scale": 1.5}},
    "hires, Lanczos": {"mode": "txt2img", "hires": {"width": 96, "height": 80, "upscaler": "Lanczos"}},
    "img2img": {"mode": "img2img", "image": PICTURE},
    "img2img, latent": {"mode": "img2img", "image": PICTURE, "resize_mode": "latent", "width": 128},
    "inpaint": {"mode": "inpaint", "image": PICTURE, "mask": MASK, "input_size": (80, 72)},
    "inpaint, masked": {
        "mode": "inpaint",
        "image": PICTURE,
        "mask": MASK,
        "input_size": (80, 72),
        "area": "masked",
        "masked_content": "latent_noise",
    },
    "outpaint": {"mode": "outpaint", "image": PICTURE, "width": 112, "height": 80, "right": 32, "top": 8},
    "upscale": {"mode": "upscale", "image": PICTURE, "width": 120, "height": 112},
    "SD upscale": {
        "mode": "upscale",
        "image": PICTURE,
        "width": 104,
        "height": 96,
        "upscaler": "SD upscale",
        "tile": 64,
        "overlap": 16,
    },
}
CASE = pytest.mark.parametrize("case", CASES)


def test_every_mode_has_a_test_case() -> None:
    assert {fields["mode"] for fields in CASES.values()} == set(MODES)


@CASE
@pytest.mark.parametrize("family", FAMILIES)
def test_an_image_has_its_specs_output_size_with_every_family(case: str, family: str) -> None:
    spec = a_spec_of(**CASES[case], num_inference_steps=2)
    image = draw(a_context(family), spec)[0]
    assert image.dtype == np.uint8
    assert image.shape == (spec.output_size[1], spec.output_size[0], 3)


@CASE
def test_the_same_spec_gives_the_same_image(case: str) -> None:
    spec = a_spec_of(**CASES[case], **SAMPLER)
    assert np.array_equal(draw(a_context(), spec)[0], draw(a_context(), spec)[0])


@CASE
@pytest.mark.parametrize("family", ["sd15-inpaint", "sdxl"])
def test_an_image_depends_neither_on_its_neighbours_nor_on_its_place(family: str, case: str) -> None:
    context = a_context(family)
    mine = a_spec_of(**CASES[case], **SAMPLER)
    own = {"image": OTHER} if "image" in CASES[case] else {}
    other = a_spec_of(**{**CASES[case], **own}, **SAMPLER, seed=7, prompt="a fox", guidance_scale=3)
    alike = draw(context, mine, mine)[0]
    assert np.array_equal(draw(context, mine, other)[0], alike)
    assert np.array_equal(draw(context, other, mine)[1], alike)


@pytest.mark.parametrize("case", [case for case in CASES if case != "upscale"])
@pytest.mark.parametrize(
    "change", [{"seed": 2}, {"prompt": "a fox"}, {"negative_prompt": "fog"}, {"guidance_scale": 9}]
)
def test_another_spec_gives_another_image(case: str, change: dict[str, Any]) -> None:
    spec = a_spec_of(**CASES[case])
    assert not np.array_equal(draw(a_context(), spec)[0], draw(a_context(), spec.model_copy(update=change))[0])


@CASE
def test_every_step_of_every_pass_is_reported(case: str) -> None:
    reported: list[tuple[int, int]] = []
    spec = a_spec_of(**CASES[case])
    RENDERS[spec.mode](a_context(), [spec], lambda done, steps: reported.append((done, steps)))
    assert reported == [(done, len(reported)) for done in range(1, len(reported) + 1)]
    assert reported


@CASE
def test_an_exception_of_the_step_callback_ends_the_render(case: str) -> None:
    def stop(_done: int, _steps: int) -> None:
        raise LeaseLost

    spec = a_spec_of(**CASES[case])
    with pytest.raises(LeaseLost):
        RENDERS[spec.mode](a_context(), [spec], stop)
