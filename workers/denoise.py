"""The loop that all modes share: from noise to latents, step by step, over a checkpoint's UNet."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from workers.conditions import Conditions, Embeds
from workers.course import Course
from workers.latents import Draws, Size, is_sdxl
from workers.placement import device_of, dtype_of


@dataclass(frozen=True)
class Kept:
    """What a UNet without a channel for it has to be held to: outside the mask, a picture.

    `mask` (images, 1, height, width) is 1 where it paints; `latents` are the picture's, and `noise`
    what they are noised with, to be like what surrounds them at each step.
    """

    mask: torch.Tensor
    latents: torch.Tensor
    noise: torch.Tensor


@dataclass(frozen=True)
class Told:
    """What the UNet is told of a batch beside its latents.

    `conditions` are of one shape. `guidance` has a scale for each image. `size` is that of the pixels;
    `channels` of shape (images, 5, height, width) are the mask and the masked picture, for a UNet that takes them.
    """

    conditions: Sequence[Conditions]
    guidance: Sequence[float]
    size: Size
    channels: torch.Tensor | None = None


@torch.no_grad()
def denoise(
    pipeline: Any,
    course: Course,
    latents: torch.Tensor,
    told: Told,
    draws: Draws,
    *,
    kept: Kept | None,
    tick: Callable[[], None],
) -> torch.Tensor:
    """Denoise latents (images, 4, height, width). For each timestep:

    1. One call of the UNet for all texts of all images: the negatives, then the prompts, then what AND joins.
    2. Guidance, with a scale for each image.
    3. The scheduler's step, its noise drawn for each image from its own generator.
    4. Where part of the picture is kept: put it back, noised as the next step expects it.

    `tick` is called after each step; whatever it raises ends the loop.
    """
    unet = _Unet(pipeline, told, course)
    for call in range(len(course.timesteps)):
        noise = unet.noise_in(latents, call)
        latents = course.take(call, noise, latents, draws.generators)
        if kept:
            latents = _put_back(kept, latents, course, call)
        if course.ends_step(call):
            tick()
    return latents


def _put_back(kept: Kept, latents: torch.Tensor, course: Course, call: int) -> torch.Tensor:
    picture = kept.latents if course.is_last(call) else course.noised(kept.latents, kept.noise, call + 1)
    return (1 - kept.mask) * picture + kept.mask * latents


class _Unet:
    """The UNet with the texts it hears, which are joined anew only where they change."""

    def __init__(self, pipeline: Any, told: Told, course: Course) -> None:
        self._unet = pipeline.unet
        self._course = course
        # Those that the UNet hears go to the device at once, not one by one.
        self._timesteps = course.timesteps.to(device_of(pipeline))
        self._told = told
        self._is_sdxl = is_sdxl(pipeline)
        self._is_guided = told.conditions[0].negative is not None
        self._weights = self._scales(pipeline)
        self._heard: list[Embeds] = []
        self._options: dict[str, Any] = {}

    def noise_in(self, latents: torch.Tensor, call: int) -> torch.Tensor:
        """The noise that the UNet sees in the latents at a call, guided."""
        self._listen(self._course.step_of(call))
        rows = len(self._heard) // len(latents)
        seen = self._course.scaled(torch.cat([latents] * rows), call)
        if self._told.channels is not None:
            seen = torch.cat([seen, torch.cat([self._told.channels] * rows)], dim=1)
        predicted = self._unet(seen, self._timesteps[call], **self._options, return_dict=False)[0].chunk(rows)
        if not self._is_guided:
            return torch.stack([w * p for w, p in zip(self._weights, predicted, strict=True)]).sum(0)
        negative, *prompts = predicted
        guided: torch.Tensor = negative
        for prompt, weight in zip(prompts, self._weights, strict=True):
            guided = guided + weight * (prompt - negative)
        return guided

    def _listen(self, step: int) -> None:
        heard = [*self._negatives(step), *self._prompts(step)]
        if len(heard) == len(self._heard) and all(new is old for new, old in zip(heard, self._heard, strict=True)):
            return
        self._heard = heard
        tokens = torch.stack([embeds.tokens for embeds in heard])
        self._options = {"encoder_hidden_states": tokens}
        if self._is_sdxl:
            self._options["added_cond_kwargs"] = self._sizes_and_pooled(tokens)

    def _negatives(self, step: int) -> list[Embeds]:
        found = [conditions.negative_at(step) for conditions in self._told.conditions]
        return [embeds for embeds in found if embeds is not None]

    def _prompts(self, step: int) -> list[Embeds]:
        """Those of all images for the first part, then for the second."""
        parts = zip(*(conditions.positive_at(step) for conditions in self._told.conditions), strict=True)
        return [embeds for part in parts for _weight, embeds in part]

    def _sizes_and_pooled(self, tokens: torch.Tensor) -> dict[str, torch.Tensor]:
        """SDXL is told the size of a picture before and after cropping; ours are whole."""
        width, height = self._told.size
        sizes = torch.tensor([[height, width, 0, 0, height, width]], dtype=tokens.dtype, device=tokens.device)
        pooled = torch.stack([embeds.pooled for embeds in self._heard if embeds.pooled is not None])
        return {"text_embeds": pooled, "time_ids": sizes.repeat(len(tokens), 1)}

    def _scales(self, pipeline: Any) -> list[torch.Tensor]:
        """For each part of the prompts its weight in all images, (images, 1, 1, 1); with guidance, times its scale.

        In the UNet's own type, lest they promote what they are multiplied with.
        """
        weights = [[part.weight for part in conditions.parts] for conditions in self._told.conditions]
        if self._is_guided:
            weights = [[w * g for w in own] for own, g in zip(weights, self._told.guidance, strict=True)]
        else:
            weights = [_shares(own) for own in weights]
        scales = torch.tensor(weights).to(device=device_of(pipeline), dtype=dtype_of(self._unet))
        return [column.view(-1, 1, 1, 1) for column in scales.unbind(1)]


def _shares(weights: Sequence[float]) -> list[float]:
    """Without guidance there is no negative to lead away from: what AND joins is averaged by its weights."""
    total = sum(weights)
    return [weight / total if total else 1 / len(weights) for weight in weights]
