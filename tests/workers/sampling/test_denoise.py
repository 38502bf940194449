"""The loop that all modes share computes what diffusers' own pipelines compute."""

from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLInpaintPipeline,
    StableDiffusionXLPipeline,
)

from farm.spec.image import ImageSpec
from tests.workers.studios import a_context, a_mask, a_picture, a_spec_of, draw, upload
from workers.sampling.context import RenderContext
from workers.sampling.schedulers import make_scheduler

CLASSES: dict[tuple[str, bool], Any] = {
    ("txt2img", False): StableDiffusionPipeline,
    ("txt2img", True): StableDiffusionXLPipeline,
    ("img2img", False): StableDiffusionImg2ImgPipeline,
    ("img2img", True): StableDiffusionXLImg2ImgPipeline,
    ("inpaint", False): StableDiffusionInpaintPipeline,
    ("inpaint", True): StableDiffusionXLInpaintPipeline,
}
RESPACED = [("Euler", "Automatic"), ("DPM++ 2M", "Karras"), ("DDIM", "Automatic")]
MASKED = (16, 8, 48, 40)


def by_diffusers(context: RenderContext, spec: ImageSpec, mode: str = "", **options: Any) -> np.ndarray:
    """What the stock pipeline of a mode renders with the same parts."""
    own = context.pipeline
    seeds = [spec.seed]
    scheduler = make_scheduler(
        spec.sampler, spec.schedule_type, own.scheduler.config, seeds, spec.num_inference_steps
    )
    parts = {name: part for name, part in own.components.items() if name != "image_encoder"}
    checker = {"add_watermarker": False} if context.family.is_sdxl else {"requires_safety_checker": False}
    stock = CLASSES[mode or spec.mode, context.family.is_sdxl](**parts, **checker)
    stock.scheduler = scheduler
    stock.set_progress_bar_config(disable=True)
    images = stock(
        prompt=spec.prompt,
        negative_prompt=spec.negative_prompt,
        num_inference_steps=spec.num_inference_steps,
        guidance_scale=spec.guidance_scale,
        generator=torch.Generator().manual_seed(spec.seed),
        output_type="np",
        **options,
    ).images
    pixels: np.ndarray = (images[0] * 255).round().astype(np.uint8)
    return pixels


@pytest.mark.parametrize("family", ["sd15", "sd2", "sd2-v", "sdxl"])
@pytest.mark.parametrize(("sampler", "schedule_type"), RESPACED)
def test_text_to_image_is_what_diffusers_renders(family: str, sampler: str, schedule_type: str) -> None:
    context = a_context(family)
    spec = a_spec_of("txt2img", sampler=sampler, schedule_type=schedule_type, negative_prompt="fog", width=96)
    assert np.array_equal(draw(context, spec)[0], by_diffusers(context, spec, width=96, height=64))


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
@pytest.mark.parametrize(("sampler", "schedule_type"), RESPACED)
def test_image_to_image_is_what_diffusers_renders(family: str, sampler: str, schedule_type: str) -> None:
    context, picture = a_context(family), a_picture(96, 64)
    spec = a_spec_of(
        "img2img",
        image=upload(picture),
        width=96,
        sampler=sampler,
        schedule_type=schedule_type,
        num_inference_steps=4,
        negative_prompt="fog",
    )
    stock = by_diffusers(context, spec, image=picture, strength=spec.strength)
    assert np.array_equal(draw(context, spec)[0], stock)


@pytest.mark.parametrize("family", ["sd15", "sd15-inpaint", "sdxl", "sdxl-inpaint"])
@pytest.mark.parametrize(("sampler", "schedule_type"), RESPACED)
def test_inpaint_is_what_diffusers_renders_within_the_mask(family: str, sampler: str, schedule_type: str) -> None:
    context, picture, mask = a_context(family), a_picture(), a_mask((64, 64), MASKED)
    spec = a_spec_of(
        "inpaint",
        image=upload(picture),
        mask=upload(mask),
        input_size=(64, 64),
        mask_blur=0,
        sampler=sampler,
        schedule_type=schedule_type,
        num_inference_steps=4,
        negative_prompt="fog",
    )
    stock = by_diffusers(context, spec, image=picture, mask_image=mask, strength=spec.strength, width=64, height=64)
    inside = np.asarray(mask) > 0
    off = draw(context, spec)[0][inside].astype(int) - stock[inside]
    # On some processors a shade lies so near to the middle of two that it is rounded to the other.
    assert np.abs(off).max() <= 1


@pytest.mark.parametrize("family", ["sd15-inpaint", "sdxl-inpaint"])
def test_text_to_image_with_an_inpainting_checkpoint_paints_over_all_of_a_blank_picture(family: str) -> None:
    context, spec = a_context(family), a_spec_of("txt2img", negative_prompt="fog")
    everything = a_mask((64, 64), (0, 0, 64, 64))
    stock = by_diffusers(
        context,
        spec,
        mode="inpaint",
        image=a_picture(),
        mask_image=everything,
        strength=1.0,
        width=64,
        height=64,
    )
    assert np.array_equal(draw(context, spec)[0], stock)
