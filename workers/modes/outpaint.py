"""Outpaint: a picture continued beyond its sides, in as many passes as its distance takes."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from farm.errors import CannotRender
from farm.spec.image import OutpaintSpec
from workers.canvas.outpaint_fill import prime
from workers.canvas.outpaint_plan import plan_expansions
from workers.modes.painting import paint
from workers.renderer import OnStep
from workers.sampling.context import RenderContext, make_step_callback
from workers.sampling.latents import NoiseSource
from workers.sampling.passes import Pass
from workers.sampling.timesteps import count_steps


def render(context: RenderContext, specs: Sequence[OutpaintSpec], on_step: OnStep) -> list[np.ndarray]:
    """Render specs of one batch key and conditioning shape together.

    Each pass adds at most half of the side that the checkpoint was trained at, and sees no
    more than it needs of what is there. The picture stays bit for bit, but for a band of `mask_blur`
    pixels inside each edge that is continued, in which old and new are blended.
    """
    first = specs[0]
    expansions = plan_expansions((first.width, first.height), _known_box(first), context.side)
    steps = max(1, len(expansions)) * count_steps(first.num_inference_steps, first.strength)
    step_callback = make_step_callback(on_step, steps)
    conditioning = context.encode_prompts(specs)
    canvases = [_make_canvas(context, spec) for spec in specs]
    for number, expansion in enumerate(expansions):
        noise_source = NoiseSource.from_seeds([spec.seed for spec in specs], number)
        pass_ = Pass(specs, conditioning, expansion.window_size, first.num_inference_steps, noise_source)
        own = zip(canvases, noise_source.generators, strict=True)
        patches = [prime(canvas, expansion, first.mask_blur, generator) for canvas, generator in own]
        canvases = paint(context, pass_, patches, first.strength, step_callback)
    if not expansions:
        step_callback()
    return [np.asarray(canvas) for canvas in canvases]


def _known_box(spec: OutpaintSpec) -> tuple[int, int, int, int]:
    return spec.left, spec.top, spec.width - spec.right, spec.height - spec.bottom


def _make_canvas(context: RenderContext, spec: OutpaintSpec) -> Image.Image:
    """The canvas with the picture in its place, and nothing around it yet."""
    picture = context.inputs.picture(spec.image).convert("RGB")
    left, top, right, bottom = _known_box(spec)
    if picture.size != (right - left, bottom - top):
        raise CannotRender(
            f"The picture has {picture.width} x {picture.height} pixels; "
            f"{spec.width} x {spec.height} with these sides leaves {right - left} x {bottom - top} for it."
        )
    canvas = Image.new("RGB", (spec.width, spec.height))
    canvas.paste(picture, (left, top))
    return canvas
