"""Image to image: a picture, noised as far as the strength says, and denoised again."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from farm.specs import ImageToImageSpec
from workers.course import steps_to_run
from workers.images import resized
from workers.latents import SIDE, Draws, Size, enlarge, pixels_of
from workers.passes import Beginning, Pass, from_picture
from workers.renderer import OnStep
from workers.studio import Studio, ticking


def render(studio: Studio, specs: Sequence[ImageToImageSpec], on_step: OnStep) -> list[np.ndarray]:
    """Render specs of one batch key and text shape together; their pictures may differ in size."""
    first = specs[0]
    tick = ticking(on_step, steps_to_run(first.num_inference_steps, first.strength))
    draws = Draws.of([spec.seed for spec in specs])
    work = Pass(specs, studio.conditions(specs), (first.width, first.height), first.num_inference_steps, draws)
    latents = _latents(studio, specs, draws)
    return studio.vae.decode(from_picture(studio, work, Beginning(latents, first.strength), tick))


def _latents(studio: Studio, specs: Sequence[ImageToImageSpec], draws: Draws) -> torch.Tensor:
    size, how = (specs[0].width, specs[0].height), specs[0].resize_mode
    pictures = [studio.inputs.picture(spec.image) for spec in specs]
    if how != "latent":
        pixels = pixels_of([resized(picture.convert("RGB"), size, how) for picture in pictures])
        return studio.vae.encode(pixels, draws.generators)
    own = zip(pictures, draws.generators, strict=True)
    return torch.cat([_enlarged(studio, picture, size, generator) for picture, generator in own])


def _enlarged(studio: Studio, picture: Image.Image, size: Size, generator: torch.Generator) -> torch.Tensor:
    """A picture's latents at another size. What is larger than that is made smaller in pixels."""
    own = min(size[0], _whole(picture.width)), min(size[1], _whole(picture.height))
    latents = studio.vae.encode(pixels_of([resized(picture.convert("RGB"), own)]), [generator])
    return latents if own == size else enlarge(latents, size)


def _whole(side: int) -> int:
    """The nearest side that latents have, at least eight of them."""
    return max(8 * SIDE, round(side / SIDE) * SIDE)
