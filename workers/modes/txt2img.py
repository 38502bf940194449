"""Text to image, with a second pass over the enlarged picture where `hires` is set."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from farm.spec.hires import Hires
from farm.spec.image import TextToImageSpec
from farm.spec.sizes import Size
from workers.canvas.images import resize
from workers.renderer import OnStep
from workers.sampling.context import RenderContext, StepCallback, count_hires_steps, make_step_callback
from workers.sampling.latents import NoiseSource, enlarge_latents, pictures_to_tensor
from workers.sampling.passes import Pass, StartingLatents, denoise_from_latents, denoise_from_noise
from workers.sampling.timesteps import count_steps


def render(context: RenderContext, specs: Sequence[TextToImageSpec], on_step: OnStep) -> list[np.ndarray]:
    """Render specs of one batch key and conditioning shape together.

    1. From noise to latents.
    2. With `hires`: enlarge them, or the picture they decode to, and denoise that again.
    3. Decode.
    """
    first = specs[0]
    step_callback = make_step_callback(on_step, _count_all_steps(first))
    size, seeds = (first.width, first.height), [spec.seed for spec in specs]
    pass_ = Pass(
        specs, context.encode_prompts(specs), size, first.num_inference_steps, NoiseSource.from_seeds(seeds)
    )
    latents = denoise_from_noise(context, pass_, step_callback)
    if first.hires:
        latents = _render_hires_pass(context, specs, first.hires, latents, step_callback)
    return context.vae.decode(latents)


def _count_all_steps(spec: TextToImageSpec) -> int:
    second = count_steps(count_hires_steps(spec), spec.hires.strength) if spec.hires else 0
    return spec.num_inference_steps + second


def _render_hires_pass(
    context: RenderContext,
    specs: Sequence[TextToImageSpec],
    hires: Hires,
    latents: torch.Tensor,
    step_callback: StepCallback,
) -> torch.Tensor:
    first = specs[0]
    noise_source = NoiseSource.from_seeds([spec.seed for spec in specs], 1)
    enlarged = _enlarge(context, latents, first.output_size, hires.upscaler, noise_source)
    conditioning = context.encode_hires_prompts(specs)
    pass_ = Pass(specs, conditioning, first.output_size, count_hires_steps(first), noise_source)
    return denoise_from_latents(context, pass_, StartingLatents(enlarged, hires.strength), step_callback)


def _enlarge(
    context: RenderContext, latents: torch.Tensor, size: Size, upscaler: str, noise_source: NoiseSource
) -> torch.Tensor:
    if upscaler != "Lanczos":
        return enlarge_latents(latents, size, upscaler)
    pictures = [Image.fromarray(pixels) for pixels in context.vae.decode(latents)]
    larger = [resize(picture, size, "crop") for picture in pictures]
    return context.vae.encode(pictures_to_tensor(larger), noise_source.generators)
