"""One denoising pass of a batch: from sampler, prompts and perhaps starting latents to denoised latents."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from farm.spec.image import ImageSpec
from farm.spec.sizes import Size
from workers.sampling.conditioning import Conditioning
from workers.sampling.context import RenderContext, StepCallback
from workers.sampling.denoise import KnownRegion, UNetInputs, denoise
from workers.sampling.latents import NoiseSource, shrink_mask
from workers.sampling.schedulers import make_scheduler
from workers.sampling.timesteps import TimestepSchedule, plan_timesteps


@dataclass(frozen=True)
class Pass:
    """What any pass needs. `size` is in pixels; `steps` are those of the whole schedule, at a strength of 1."""

    specs: Sequence[ImageSpec]
    conditioning: Sequence[Conditioning]
    size: Size
    steps: int
    noise_source: NoiseSource


@dataclass(frozen=True)
class StartingLatents:
    """A picture that a pass starts from: `latents` (images, 4, height / 8, width / 8), noised as `strength` says.

    Where `mask` (images, 1, height, width) is 1 the picture is painted, and where it is 0 it is known and kept.
    `pixels` (images, 3, height, width) are the picture's, from -1 to 1. Without a mask all of it is painted.
    """

    latents: torch.Tensor
    strength: float
    mask: torch.Tensor | None = None
    pixels: torch.Tensor | None = None


def denoise_from_noise(context: RenderContext, pass_: Pass, step_callback: StepCallback) -> torch.Tensor:
    """Latents (images, 4, height / 8, width / 8) of pictures made of noise alone."""
    schedule = _plan_schedule(context, pass_, 1.0)
    noise = pass_.noise_source.sample_noise(pass_.size, context.pipeline)
    latents = noise * schedule.scheduler.init_noise_sigma
    return denoise(
        context.pipeline,
        schedule,
        latents,
        _unet_inputs(context, pass_, None),
        pass_.noise_source,
        known_region=None,
        step_callback=step_callback,
    )


def denoise_from_latents(
    context: RenderContext, pass_: Pass, start: StartingLatents, step_callback: StepCallback
) -> torch.Tensor:
    """Latents (images, 4, height / 8, width / 8) of pictures made of other ones.

    A UNet without channels for mask and picture has the known region put back step by step. Even at a
    strength of 1 a pass starts from the picture under all the schedule's noise, not from noise alone.
    """
    schedule = _plan_schedule(context, pass_, start.strength)
    noise = pass_.noise_source.sample_noise(pass_.size, context.pipeline)
    latents = schedule.add_noise(start.latents, noise, 0)
    known_region = None
    if start.mask is not None and not context.family.is_inpaint:
        known_region = KnownRegion(shrink_mask(start.mask, context.pipeline), start.latents, noise)
    return denoise(
        context.pipeline,
        schedule,
        latents,
        _unet_inputs(context, pass_, start),
        pass_.noise_source,
        known_region=known_region,
        step_callback=step_callback,
    )


def _plan_schedule(context: RenderContext, pass_: Pass, strength: float) -> TimestepSchedule:
    spec, own = pass_.specs[0], context.pipeline.scheduler.config
    seeds = pass_.noise_source.seeds
    scheduler = make_scheduler(spec.sampler, spec.schedule_type, own, seeds, pass_.steps)
    return plan_timesteps(scheduler, pass_.steps, strength)


def _unet_inputs(context: RenderContext, pass_: Pass, start: StartingLatents | None) -> UNetInputs:
    channels = _extra_channels(context, pass_, start) if context.family.is_inpaint else None
    guidance_scales = [spec.guidance_scale for spec in pass_.specs]
    return UNetInputs(pass_.conditioning, guidance_scales, pass_.size, channels)


def _extra_channels(context: RenderContext, pass_: Pass, start: StartingLatents | None) -> torch.Tensor:
    """What an inpainting UNet takes besides, (images, 5, height / 8, width / 8): the mask, and the masked latents.

    Those are the latents of the picture without what the mask covers. Where nothing is known the mask covers
    everything, and the picture is blank, as in the WebUI.
    """
    width, height = pass_.size
    mask = torch.ones(len(pass_.specs), 1, height, width)
    # In memory as real pictures are, colours last: the layout decides the last bits of what the VAE computes.
    pixels = torch.zeros(len(pass_.specs), height, width, 3).permute(0, 3, 1, 2)
    if start is not None and start.mask is not None and start.pixels is not None:
        mask, pixels = start.mask, start.pixels * (start.mask < 0.5)
    masked_latents = context.vae.encode(pixels, pass_.noise_source.generators)
    return torch.cat([shrink_mask(mask, context.pipeline), masked_latents], dim=1)
