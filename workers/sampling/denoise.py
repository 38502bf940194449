"""The denoising loop that all modes share: from noisy latents to denoised ones, with a checkpoint's UNet."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from farm.spec.sizes import Size
from workers.compute.placement import device_of, dtype_of
from workers.sampling.conditioning import Conditioning, PromptEmbeds
from workers.sampling.latents import NoiseSource, is_sdxl
from workers.sampling.timesteps import TimestepSchedule


@dataclass(frozen=True)
class KnownRegion:
    """The part of a picture that stays, for a UNet that takes no mask: it is put back after each step.

    `mask` of shape (images, 1, height / 8, width / 8) is 1 where the picture is painted and 0 where it is known.
    `latents` of shape (images, 4, height / 8, width / 8) are the picture's; `noise`, of the same shape, is added to
    them, so that they fit what surrounds them at each step.
    """

    mask: torch.Tensor
    latents: torch.Tensor
    noise: torch.Tensor


@dataclass(frozen=True)
class UNetInputs:
    """What the UNet takes for a batch, beside latents and timesteps.

    `conditioning` has one entry for each image, all of one shape, and so has `guidance_scales`. `size` is that of
    the pixels. `extra_channels` of shape (images, 5, height / 8, width / 8), the mask and the latents of the masked
    picture, are for a UNet with channels for them.
    """

    conditioning: Sequence[Conditioning]
    guidance_scales: Sequence[float]
    size: Size
    extra_channels: torch.Tensor | None = None


@torch.no_grad()
def denoise(
    pipeline: Any,
    schedule: TimestepSchedule,
    latents: torch.Tensor,
    inputs: UNetInputs,
    noise_source: NoiseSource,
    *,
    known_region: KnownRegion | None,
    step_callback: Callable[[], None],
) -> torch.Tensor:
    """Denoise latents of shape (images, 4, height / 8, width / 8). For each timestep:

    1. One call of the UNet for all texts of all images: the negatives, then the prompts, then what AND joins.
    2. Guidance, with a scale for each image.
    3. The scheduler's step, its noise drawn for each image from its own generator.
    4. Where a part of the picture is known: put it back, noised as the next step expects it.

    `step_callback` is called after each step; whatever it raises ends the loop.
    """
    unet = _ConditionedUNet(pipeline, inputs, schedule)
    for call in range(len(schedule.timesteps)):
        noise_pred = unet.predict_noise(latents, call)
        latents = schedule.step(call, noise_pred, latents, noise_source.generators)
        if known_region:
            latents = _restore_known_region(known_region, latents, schedule, call)
        if schedule.ends_step(call):
            step_callback()
    return latents


def _restore_known_region(
    known: KnownRegion, latents: torch.Tensor, schedule: TimestepSchedule, call: int
) -> torch.Tensor:
    is_last = schedule.is_last_call(call)
    picture = known.latents if is_last else schedule.add_noise(known.latents, known.noise, call + 1)
    return (1 - known.mask) * picture + known.mask * latents


class _ConditionedUNet:
    """The UNet with the embeds of all prompts, which are stacked again only at the steps where they change."""

    def __init__(self, pipeline: Any, inputs: UNetInputs, schedule: TimestepSchedule) -> None:
        self._unet = pipeline.unet
        self._schedule = schedule
        # The UNet's timesteps go to the device all at once, not one by one.
        self._timesteps = schedule.timesteps.to(device_of(pipeline))
        self._inputs = inputs
        self._is_sdxl = is_sdxl(pipeline)
        self._is_guided = inputs.conditioning[0].negative is not None
        self._weights = self._prompt_weights(pipeline)
        self._embeds: list[PromptEmbeds] = []
        self._unet_options: dict[str, Any] = {}

    def predict_noise(self, latents: torch.Tensor, call: int) -> torch.Tensor:
        """The noise predicted in the latents at a call, guided; of the latents' shape."""
        self._update_embeds(self._schedule.step_of(call))
        rows = len(self._embeds) // len(latents)
        model_input = self._schedule.scale_model_input(torch.cat([latents] * rows), call)
        if self._inputs.extra_channels is not None:
            model_input = torch.cat([model_input, torch.cat([self._inputs.extra_channels] * rows)], dim=1)
        output = self._unet(model_input, self._timesteps[call], **self._unet_options, return_dict=False)[0]
        predicted = output.chunk(rows)
        if not self._is_guided:
            return torch.stack([w * p for w, p in zip(self._weights, predicted, strict=True)]).sum(0)
        negative, *prompts = predicted
        guided: torch.Tensor = negative
        for prompt, weight in zip(prompts, self._weights, strict=True):
            guided = guided + weight * (prompt - negative)
        return guided

    def _update_embeds(self, step: int) -> None:
        embeds = [*self._negatives(step), *self._prompts(step)]
        if len(embeds) == len(self._embeds) and all(
            new is old for new, old in zip(embeds, self._embeds, strict=True)
        ):
            return
        self._embeds = embeds
        hidden_states = torch.stack([one.hidden_states for one in embeds])
        self._unet_options = {"encoder_hidden_states": hidden_states}
        if self._is_sdxl:
            self._unet_options["added_cond_kwargs"] = self._added_cond_kwargs(hidden_states)

    def _negatives(self, step: int) -> list[PromptEmbeds]:
        found = [conditioning.negative_at(step) for conditioning in self._inputs.conditioning]
        return [embeds for embeds in found if embeds is not None]

    def _prompts(self, step: int) -> list[PromptEmbeds]:
        """The first prompts of all images, then the second ones that AND joins to them, and so on."""
        prompts = zip(*(conditioning.positive_at(step) for conditioning in self._inputs.conditioning), strict=True)
        return [embeds for of_all_images in prompts for _weight, embeds in of_all_images]

    def _added_cond_kwargs(self, hidden_states: torch.Tensor) -> dict[str, torch.Tensor]:
        """SDXL takes the size of a picture before and after cropping; ours are whole."""
        width, height = self._inputs.size
        dtype, device = hidden_states.dtype, hidden_states.device
        time_ids = torch.tensor([[height, width, 0, 0, height, width]], dtype=dtype, device=device)
        pooled = torch.stack([embeds.pooled for embeds in self._embeds if embeds.pooled is not None])
        return {"text_embeds": pooled, "time_ids": time_ids.repeat(len(hidden_states), 1)}

    def _prompt_weights(self, pipeline: Any) -> list[torch.Tensor]:
        """The weights, (images, 1, 1, 1), of each prompt that AND joins; with guidance, times the image's scale.

        In the UNet's own type: another one would promote what it is multiplied with.
        """
        weights = [[prompt.weight for prompt in conditioning.prompts] for conditioning in self._inputs.conditioning]
        if self._is_guided:
            scales = self._inputs.guidance_scales
            weights = [[w * scale for w in own] for own, scale in zip(weights, scales, strict=True)]
        else:
            weights = [_normalize(own) for own in weights]
        by_image = torch.tensor(weights).to(device=device_of(pipeline), dtype=dtype_of(self._unet))
        return [column.view(-1, 1, 1, 1) for column in by_image.unbind(1)]


def _normalize(weights: Sequence[float]) -> list[float]:
    """Without guidance there is no negative to lead away from: what AND joins is averaged by its weights."""
    total = sum(weights)
    return [weight / total if total else 1 / len(weights) for weight in weights]
