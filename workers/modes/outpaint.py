"""Outpaint: a picture continued beyond its sides, in as many passes as its distance takes."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from farm.errors import CannotRender
from farm.specs import OutpaintSpec
from workers.course import steps_to_run
from workers.expansion import plan
from workers.latents import Draws
from workers.passes import Pass
from workers.patches import paint
from workers.priming import prime
from workers.renderer import OnStep
from workers.studio import Studio, ticking


def render(studio: Studio, specs: Sequence[OutpaintSpec], on_step: OnStep) -> list[np.ndarray]:
    """Render specs of one batch key and text shape together.

    Each pass adds at most half of the side that the checkpoint was trained at, and sees no
    more than it needs of what is there. The picture stays bit for bit, but for a band of `mask_blur`
    pixels inside each edge that is continued, in which old and new are blended.
    """
    first = specs[0]
    expansions = plan((first.width, first.height), _place(first), studio.side)
    tick = ticking(on_step, max(1, len(expansions)) * steps_to_run(first.num_inference_steps, first.strength))
    conditions = studio.conditions(specs)
    canvases = [_canvas(studio, spec) for spec in specs]
    for number, expansion in enumerate(expansions):
        draws = Draws.of([spec.seed for spec in specs], number)
        work = Pass(specs, conditions, expansion.window_size, first.num_inference_steps, draws)
        own = zip(canvases, draws.generators, strict=True)
        patches = [prime(canvas, expansion, first.mask_blur, generator) for canvas, generator in own]
        canvases = paint(studio, work, patches, first.strength, tick)
    if not expansions:
        tick()
    return [np.asarray(canvas) for canvas in canvases]


def _place(spec: OutpaintSpec) -> tuple[int, int, int, int]:
    return spec.left, spec.top, spec.width - spec.right, spec.height - spec.bottom


def _canvas(studio: Studio, spec: OutpaintSpec) -> Image.Image:
    """The picture in its place, with nothing around it yet."""
    picture = studio.inputs.picture(spec.image).convert("RGB")
    left, top, right, bottom = _place(spec)
    if picture.size != (right - left, bottom - top):
        raise CannotRender(
            f"The picture has {picture.width} x {picture.height} pixels; "
            f"{spec.width} x {spec.height} with these sides leaves {right - left} x {bottom - top} for it."
        )
    canvas = Image.new("RGB", (spec.width, spec.height))
    canvas.paste(picture, (left, top))
    return canvas
