"""Image to image: a picture, noised as far as the strength says, and denoised again."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from farm.spec.image import ImageToImageSpec
from farm.spec.sizes import VAE_SCALE_FACTOR, Size
from workers.canvas.images import resize
from workers.renderer import OnStep
from workers.sampling.context import RenderContext, make_step_callback
from workers.sampling.latents import NoiseSource, enlarge_latents, pictures_to_tensor
from workers.sampling.passes import Pass, StartingLatents, denoise_from_latents
from workers.sampling.timesteps import count_steps


def render(context: RenderContext, specs: Sequence[ImageToImageSpec], on_step: OnStep) -> list[np.ndarray]:
    """Render specs of one batch key and conditioning shape together; their pictures may differ in size."""
    first = specs[0]
    step_callback = make_step_callback(on_step, count_steps(first.num_inference_steps, first.strength))
    noise_source = NoiseSource.from_seeds([spec.seed for spec in specs])
    size, conditioning = (first.width, first.height), context.encode_prompts(specs)
    pass_ = Pass(specs, conditioning, size, first.num_inference_steps, noise_source)
    start = StartingLatents(_encode_pictures(context, specs, noise_source), first.strength)
    return context.vae.decode(denoise_from_latents(context, pass_, start, step_callback))


def _encode_pictures(
    context: RenderContext, specs: Sequence[ImageToImageSpec], noise_source: NoiseSource
) -> torch.Tensor:
    """The latents (images, 4, height / 8, width / 8) of the specs' pictures, at the size of the specs."""
    size, resize_mode = (specs[0].width, specs[0].height), specs[0].resize_mode
    pictures = [context.inputs.picture(spec.image) for spec in specs]
    if resize_mode != "latent":
        pixels = pictures_to_tensor([resize(picture.convert("RGB"), size, resize_mode) for picture in pictures])
        return context.vae.encode(pixels, noise_source.generators)
    own = zip(pictures, noise_source.generators, strict=True)
    return torch.cat([_encode_and_enlarge(context, picture, size, generator) for picture, generator in own])


def _encode_and_enlarge(
    context: RenderContext, picture: Image.Image, size: Size, generator: torch.Generator
) -> torch.Tensor:
    """A picture's latents at another size. What is larger than that is made smaller in pixels."""
    own = min(size[0], _round_to_latents(picture.width)), min(size[1], _round_to_latents(picture.height))
    latents = context.vae.encode(pictures_to_tensor([resize(picture.convert("RGB"), own)]), [generator])
    return latents if own == size else enlarge_latents(latents, size)


def _round_to_latents(side: int) -> int:
    """The nearest side in pixels that latents can have, at least eight of them."""
    return max(8 * VAE_SCALE_FACTOR, round(side / VAE_SCALE_FACTOR) * VAE_SCALE_FACTOR)
