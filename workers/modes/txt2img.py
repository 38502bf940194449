"""Text to image, with a second pass over the enlarged picture where `hires` is set."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from farm.hires import Hires
from farm.specs import TextToImageSpec
from workers.course import steps_to_run
from workers.images import resized
from workers.latents import Draws, Size, enlarge, pixels_of
from workers.passes import Beginning, Pass, from_noise, from_picture
from workers.renderer import OnStep
from workers.studio import Studio, Tick, hires_steps, ticking


def render(studio: Studio, specs: Sequence[TextToImageSpec], on_step: OnStep) -> list[np.ndarray]:
    """Render specs of one batch key and text shape together.

    1. From noise to latents.
    2. With `hires`: enlarge them, or the picture they decode to, and denoise that again.
    3. Decode.
    """
    first = specs[0]
    tick = ticking(on_step, _steps_in_all(first))
    size, seeds = (first.width, first.height), [spec.seed for spec in specs]
    work = Pass(specs, studio.conditions(specs), size, first.num_inference_steps, Draws.of(seeds))
    latents = from_noise(studio, work, tick)
    if first.hires:
        latents = _again(studio, specs, first.hires, latents, tick)
    return studio.vae.decode(latents)


def _steps_in_all(spec: TextToImageSpec) -> int:
    second = steps_to_run(hires_steps(spec), spec.hires.strength) if spec.hires else 0
    return spec.num_inference_steps + second


def _again(
    studio: Studio, specs: Sequence[TextToImageSpec], hires: Hires, latents: torch.Tensor, tick: Tick
) -> torch.Tensor:
    first = specs[0]
    draws = Draws.of([spec.seed for spec in specs], 1)
    enlarged = _enlarged(studio, latents, first.output_size, hires.upscaler, draws)
    work = Pass(specs, studio.hires_conditions(specs), first.output_size, hires_steps(first), draws)
    return from_picture(studio, work, Beginning(enlarged, hires.strength), tick)


def _enlarged(studio: Studio, latents: torch.Tensor, size: Size, upscaler: str, draws: Draws) -> torch.Tensor:
    if upscaler != "Lanczos":
        return enlarge(latents, size, upscaler)
    pictures = [Image.fromarray(pixels) for pixels in studio.vae.decode(latents)]
    larger = [resized(picture, size, "crop") for picture in pictures]
    return studio.vae.encode(pixels_of(larger), draws.generators)
