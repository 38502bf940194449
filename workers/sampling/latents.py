"""Latents and what they are made with: noise drawn from seeds, pictures and masks as tensors, enlarging."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from farm.spec.sizes import VAE_SCALE_FACTOR, Size
from workers.compute.placement import device_of, dtype_of

LATENT_CHANNELS = 4


@dataclass(frozen=True)
class NoiseSource:
    """Where one pass of a batch gets its random numbers: a CPU generator for each image, seeded by it alone.

    The order decides pixels: 1. what encoding the picture draws; 2. what a mode fills empty canvas with; 3. the
    noise of the starting latents; 4. what encoding the masked picture draws, for a UNet that takes one; 5. what
    the sampler adds, step by step. `seeds` are for samplers that make their noise themselves.
    """

    seeds: tuple[int, ...]
    generators: list[torch.Generator]

    @classmethod
    def from_seeds(cls, seeds: Sequence[int], number: int = 0) -> "NoiseSource":
        """That of the pass or tile with this number, counted from 0; `seeds` are the images'."""
        own = tuple(spawn_seed(seed, number) for seed in seeds)
        return cls(own, [torch.Generator("cpu").manual_seed(seed) for seed in own])

    def sample_noise(self, size: Size, pipeline: Any) -> torch.Tensor:
        """Standard normal noise of shape (images, 4, height / 8, width / 8), drawn on the CPU."""
        shape = (1, LATENT_CHANNELS, size[1] // VAE_SCALE_FACTOR, size[0] // VAE_SCALE_FACTOR)
        noise = [torch.randn(shape, generator=own, dtype=dtype_of(pipeline.unet)) for own in self.generators]
        return torch.cat(noise).to(device_of(pipeline))


def spawn_seed(seed: int, number: int) -> int:
    """The seed (32 bits) of an image's further passes and tiles; that of the first is the image's own."""
    if number == 0:
        return seed
    return int.from_bytes(hashlib.sha256(f"{seed}/{number}".encode()).digest()[:4])


def pictures_to_tensor(pictures: Sequence[Image.Image]) -> torch.Tensor:
    """Pictures of one size as a tensor (images, 3, height, width) from -1 to 1."""
    arrays = np.stack([np.asarray(picture.convert("RGB"), dtype=np.float32) / 255 for picture in pictures])
    return torch.from_numpy(arrays).permute(0, 3, 1, 2) * 2 - 1


def masks_to_tensor(masks: Sequence[Image.Image]) -> torch.Tensor:
    """Masks of one size as a tensor (images, 1, height, width): 1 where they are at least half white, else 0."""
    return torch.from_numpy(np.stack([np.asarray(mask) >= 128 for mask in masks])).float()[:, None]


def shrink_mask(mask: torch.Tensor, pipeline: Any) -> torch.Tensor:
    """A mask (images, 1, height, width) at the latents' size, a latent being 1 where any of its 8 x 8 pixels is."""
    pooled = functional.max_pool2d(mask, VAE_SCALE_FACTOR)
    return pooled.to(device=device_of(pipeline), dtype=dtype_of(pipeline.unet))


def is_sdxl(pipeline: Any) -> bool:
    """Whether the UNet takes sizes and a pooled text: only SDXL's does."""
    return bool(pipeline.unet.config.addition_embed_type == "text_time")


_INTERPOLATIONS: Mapping[str, Mapping[str, Any]] = {
    "Latent": {"mode": "bilinear", "antialias": False},
    "Latent (antialiased)": {"mode": "bilinear", "antialias": True},
    "Latent (bicubic)": {"mode": "bicubic", "antialias": False},
    "Latent (nearest)": {"mode": "nearest-exact"},
}


def enlarge_latents(latents: torch.Tensor, size: Size, upscaler: str = "Latent") -> torch.Tensor:
    """Latents (images, 4, height / 8, width / 8) that cover `size` pixels, in their own aspect ratio.

    What juts out is cut off on both sides.
    """
    high, wide = size[1] // VAE_SCALE_FACTOR, size[0] // VAE_SCALE_FACTOR
    ratio = max(high / latents.shape[2], wide / latents.shape[3])
    covering = max(high, round(latents.shape[2] * ratio)), max(wide, round(latents.shape[3] * ratio))
    # In full precision: the processor cannot antialias in half.
    enlarged = functional.interpolate(latents.float(), covering, **_INTERPOLATIONS[upscaler]).to(latents.dtype)
    top, left = (covering[0] - high) // 2, (covering[1] - wide) // 2
    return enlarged[:, :, top : top + high, left : left + wide]
