"""One pass of a batch: from a spec's sampler and prompts, and perhaps a picture, to denoised latents."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from farm.specs import ImageSpec
from workers.conditions import Conditions
from workers.course import Course, plan_course
from workers.denoise import Kept, Told, denoise
from workers.latents import Draws, Size, shrunk
from workers.samplers import make_scheduler
from workers.studio import Studio, Tick


@dataclass(frozen=True)
class Pass:
    """What any pass needs. `size` is its pixels', and `steps` are those before a strength leaves some out."""

    specs: Sequence[ImageSpec]
    conditions: Sequence[Conditions]
    size: Size
    steps: int
    draws: Draws


@dataclass(frozen=True)
class Beginning:
    """What a pass begins from: latents, noised as far as `strength` says.

    Where `mask` (images, 1, height, width) is 1 the picture is painted anew, and elsewhere kept;
    `pixels` (images, 3, height, width) are the picture's. Without a mask all of it is painted.
    """

    latents: torch.Tensor
    strength: float
    mask: torch.Tensor | None = None
    pixels: torch.Tensor | None = None


def from_noise(studio: Studio, work: Pass, tick: Tick) -> torch.Tensor:
    """Latents of a picture made of noise alone."""
    course = _course(studio, work, 1.0)
    latents = work.draws.noise(work.size, studio.pipeline) * course.scheduler.init_noise_sigma
    told = _told(studio, work, None)
    return denoise(studio.pipeline, course, latents, told, work.draws, kept=None, tick=tick)


def from_picture(studio: Studio, work: Pass, beginning: Beginning, tick: Tick) -> torch.Tensor:
    """Latents of a picture made of another one.

    A UNet without channels for mask and picture is held to what is kept, step by step. Even at a
    strength of 1 the beginning is the picture under all the schedule's noise, not noise alone.
    """
    course = _course(studio, work, beginning.strength)
    noise = work.draws.noise(work.size, studio.pipeline)
    latents = course.noised(beginning.latents, noise, 0)
    kept = None
    if beginning.mask is not None and not studio.family.is_inpaint:
        kept = Kept(shrunk(beginning.mask, studio.pipeline), beginning.latents, noise)
    told = _told(studio, work, beginning)
    return denoise(studio.pipeline, course, latents, told, work.draws, kept=kept, tick=tick)


def _course(studio: Studio, work: Pass, strength: float) -> Course:
    spec, own = work.specs[0], studio.pipeline.scheduler.config
    scheduler = make_scheduler(spec.sampler, spec.schedule_type, own, work.draws.seeds, work.steps)
    return plan_course(scheduler, work.steps, strength)


def _told(studio: Studio, work: Pass, beginning: Beginning | None) -> Told:
    channels = _channels(studio, work, beginning) if studio.family.is_inpaint else None
    guidance = [spec.guidance_scale for spec in work.specs]
    return Told(work.conditions, guidance, work.size, channels)


def _channels(studio: Studio, work: Pass, beginning: Beginning | None) -> torch.Tensor:
    """The five channels that an inpainting UNet takes besides: the mask, and the picture without what it covers.

    Where nothing is kept the mask covers everything, and the picture is blank, as in the WebUI.
    """
    width, height = work.size
    mask = torch.ones(len(work.specs), 1, height, width)
    # In memory as real pictures are, colours last: the layout decides the last bits of what the VAE computes.
    pixels = torch.zeros(len(work.specs), height, width, 3).permute(0, 3, 1, 2)
    if beginning is not None and beginning.mask is not None and beginning.pixels is not None:
        mask, pixels = beginning.mask, beginning.pixels * (beginning.mask < 0.5)
    masked = studio.vae.encode(pixels, work.draws.generators)
    return torch.cat([shrunk(mask, studio.pipeline), masked], dim=1)
