"""Upscale: a picture enlarged, and tile by tile denoised again where that is asked for."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from PIL import Image

from farm.spec.image import UpscaleSpec
from workers.canvas.images import resize
from workers.canvas.tiles import TileBlend, split_into_tiles
from workers.renderer import OnStep
from workers.sampling.conditioning import Conditioning
from workers.sampling.context import RenderContext, StepCallback, make_step_callback
from workers.sampling.latents import NoiseSource, pictures_to_tensor
from workers.sampling.passes import Pass, StartingLatents, denoise_from_latents
from workers.sampling.timesteps import count_steps


def render(context: RenderContext, specs: Sequence[UpscaleSpec], on_step: OnStep) -> list[np.ndarray]:
    """Render specs of one batch key and conditioning shape together; their pictures may differ in size."""
    return UPSCALERS[specs[0].upscaler](context, specs, on_step)


def _lanczos(context: RenderContext, specs: Sequence[UpscaleSpec], on_step: OnStep) -> list[np.ndarray]:
    """Lanczos alone: the checkpoint takes no part."""
    pictures = [np.asarray(_enlarge(context, spec)) for spec in specs]
    on_step(1, 1)
    return pictures


def _sd_upscale(context: RenderContext, specs: Sequence[UpscaleSpec], on_step: OnStep) -> list[np.ndarray]:
    """Lanczos, and every tile of it through the UNet; the images of a batch go tile by tile together.

    Each tile has noise of its own, from the image's seed and the tile's number.
    """
    first = specs[0]
    size = first.width, first.height
    boxes = split_into_tiles(size, first.tile, first.overlap)
    step_callback = make_step_callback(on_step, len(boxes) * count_steps(first.num_inference_steps, first.strength))
    conditioning = context.encode_prompts(specs)
    enlarged = [_enlarge(context, spec) for spec in specs]
    blends = [TileBlend(size, first.overlap) for _ in specs]
    for number, box in enumerate(boxes):
        cut = [picture.crop(box) for picture in enlarged]
        tiles = _render_tiles(context, specs, conditioning, number, cut, step_callback)
        for blend, pixels in zip(blends, tiles, strict=True):
            blend.add(box, pixels)
    return [blend.picture() for blend in blends]


def _render_tiles(
    context: RenderContext,
    specs: Sequence[UpscaleSpec],
    conditioning: Sequence[Conditioning],
    number: int,
    tiles: Sequence[Image.Image],
    step_callback: StepCallback,
) -> list[np.ndarray]:
    """One tile of each image, all of one number: uint8 of shape (height, width, 3)."""
    noise_source = NoiseSource.from_seeds([spec.seed for spec in specs], number)
    pass_ = Pass(specs, conditioning, tiles[0].size, specs[0].num_inference_steps, noise_source)
    latents = context.vae.encode(pictures_to_tensor(tiles), noise_source.generators)
    start = StartingLatents(latents, specs[0].strength)
    return context.vae.decode(denoise_from_latents(context, pass_, start, step_callback))


def _enlarge(context: RenderContext, spec: UpscaleSpec) -> Image.Image:
    return resize(context.inputs.picture(spec.image).convert("RGB"), (spec.width, spec.height))


UPSCALERS: Mapping[str, Callable[[RenderContext, Sequence[UpscaleSpec], OnStep], list[np.ndarray]]] = {
    "Lanczos": _lanczos,
    "SD upscale": _sd_upscale,
}
"""How each upscaler that a spec may name works; one that is a network of its own would be a line here."""
