"""Pools of scenes that the denoiser learns from: drawn and encoded to latents once, captioned each time."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL

from workers.demo.captions import caption
from workers.demo.drawing import Size, draw
from workers.demo.scenes import invent
from workers.demo.stages import StageClock, write_whole
from workers.demo.trainingplan import TrainingPlan
from workers.demo.vae_training import pictures_to_pixels


@dataclass(frozen=True)
class LatentPool:
    """Latents (scenes, 4, height / 8, width / 8) of scenes of one size, in half precision."""

    size: Size
    latents: torch.Tensor

    def captions(self, numbers: Iterable[int], random: Random) -> list[str]:
        """Another caption for a scene each time."""
        return [caption(_scene(self.size, number), random) for number in numbers]


def _scene(size: Size, number: int) -> Any:
    return invent(Random(f"pool/{size}/{number}"))


def make_pools(folder: Path, plan: TrainingPlan, vae: AutoencoderKL) -> dict[Size, LatentPool]:
    """Draw and encode all scenes, or read what was encoded before. The VAE is changed: see `_normalize`."""
    file = folder / "pool.pt"
    if not file.exists():
        encoded = [_encode_scenes(vae, size, count) for size, count in plan.pool]
        write_whole(file, encoded)
    encoded = torch.load(file, weights_only=True)
    every = torch.cat([latents.movedim(1, 0).flatten(1) for latents in encoded], dim=1).float()
    mean, deviation = every.mean(1), every.std(1)
    _normalize(vae, mean, deviation)
    shape = (1, -1, 1, 1)
    return {
        size: LatentPool(size, ((latents.float() - mean.view(shape)) / deviation.view(shape)).half())
        for (size, _), latents in zip(plan.pool, encoded, strict=True)
    }


@torch.no_grad()
def _encode_scenes(vae: AutoencoderKL, size: Size, count: int, at_once: int = 40) -> torch.Tensor:
    clock = StageClock(f"pool {size[0]}x{size[1]}", math.ceil(count / at_once))
    encoded = []
    for step, begin in enumerate(range(0, count, at_once)):
        numbers = range(begin, min(count, begin + at_once))
        pixels = pictures_to_pixels([np.asarray(draw(_scene(size, number), size)) for number in numbers])
        with torch.autocast("cpu", torch.bfloat16):
            encoded.append(vae.encode(pixels.contiguous(memory_format=torch.channels_last)).latent_dist.mean.half())
        clock.note_step(step)
    return torch.cat(encoded).contiguous()


@torch.no_grad()
def _normalize(vae: AutoencoderKL, mean: torch.Tensor, deviation: torch.Tensor) -> None:
    """Make the VAE's latents 0 in mean and 1 in deviation, by channel, in the convolutions beside them."""
    encoding, decoding = vae.quant_conv, vae.post_quant_conv
    encoding.bias[:4] = (encoding.bias[:4] - mean) / deviation
    encoding.weight[:4] /= deviation.view(-1, 1, 1, 1)
    encoding.bias[4:] -= 2 * deviation.log()
    decoding.bias += decoding.weight[:, :, 0, 0] @ mean
    decoding.weight *= deviation.view(1, -1, 1, 1)
