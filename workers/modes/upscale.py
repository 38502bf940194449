"""Upscale: a picture enlarged, and tile by tile denoised again where that is asked for."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from PIL import Image

from farm.specs import UpscaleSpec
from workers.conditions import Conditions
from workers.course import steps_to_run
from workers.images import resized
from workers.latents import Draws, pixels_of
from workers.passes import Beginning, Pass, from_picture
from workers.renderer import OnStep
from workers.studio import Studio, Tick, ticking
from workers.tiles import Blend, tiles_of


def render(studio: Studio, specs: Sequence[UpscaleSpec], on_step: OnStep) -> list[np.ndarray]:
    """Render specs of one batch key and text shape together; their pictures may differ in size."""
    return UPSCALERS[specs[0].upscaler](studio, specs, on_step)


def _lanczos(studio: Studio, specs: Sequence[UpscaleSpec], on_step: OnStep) -> list[np.ndarray]:
    """Lanczos alone: the checkpoint takes no part."""
    pictures = [np.asarray(_enlarged(studio, spec)) for spec in specs]
    on_step(1, 1)
    return pictures


def _sd_upscale(studio: Studio, specs: Sequence[UpscaleSpec], on_step: OnStep) -> list[np.ndarray]:
    """Lanczos, and every tile of it through the UNet; the images of a batch go tile by tile together.

    Each tile has noise of its own, from the image's seed and the tile's number.
    """
    first = specs[0]
    size = first.width, first.height
    boxes = tiles_of(size, first.tile, first.overlap)
    tick = ticking(on_step, len(boxes) * steps_to_run(first.num_inference_steps, first.strength))
    conditions = studio.conditions(specs)
    enlarged = [_enlarged(studio, spec) for spec in specs]
    blends = [Blend(size, first.overlap) for _ in specs]
    for number, box in enumerate(boxes):
        cut = [picture.crop(box) for picture in enlarged]
        for blend, pixels in zip(blends, _again(studio, specs, conditions, number, cut, tick), strict=True):
            blend.add(box, pixels)
    return [blend.picture() for blend in blends]


def _again(
    studio: Studio,
    specs: Sequence[UpscaleSpec],
    conditions: Sequence[Conditions],
    number: int,
    tiles: Sequence[Image.Image],
    tick: Tick,
) -> list[np.ndarray]:
    draws = Draws.of([spec.seed for spec in specs], number)
    work = Pass(specs, conditions, tiles[0].size, specs[0].num_inference_steps, draws)
    latents = studio.vae.encode(pixels_of(tiles), draws.generators)
    beginning = Beginning(latents, specs[0].strength)
    return studio.vae.decode(from_picture(studio, work, beginning, tick))


def _enlarged(studio: Studio, spec: UpscaleSpec) -> Image.Image:
    return resized(studio.inputs.picture(spec.image).convert("RGB"), (spec.width, spec.height))


UPSCALERS: Mapping[str, Callable[[Studio, Sequence[UpscaleSpec], OnStep], list[np.ndarray]]] = {
    "Lanczos": _lanczos,
    "SD upscale": _sd_upscale,
}
"""How each upscaler that a spec may name works; one that is a network of its own would be a line here."""
