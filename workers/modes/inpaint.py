"""Inpaint: the masked part of a picture painted anew; what the mask and its blur leave out stays bit for bit."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import ImageChops

from farm.errors import CannotRender
from farm.specs import InpaintSpec
from workers.course import steps_to_run
from workers.images import resized
from workers.latents import Draws, mask_of, shrunk
from workers.masks import feathered, fitted_mask, region, spread_in
from workers.passes import Pass
from workers.patches import Patch, begin, paint_over
from workers.renderer import OnStep
from workers.studio import Studio, ticking


def render(studio: Studio, specs: Sequence[InpaintSpec], on_step: OnStep) -> list[np.ndarray]:
    """Render specs of one batch key and text shape together; with the area `masked` each has its input's size.

    A mask without white leaves its picture as it is.
    """
    first = specs[0]
    tick = ticking(on_step, steps_to_run(first.num_inference_steps, first.strength))
    draws = Draws.of([spec.seed for spec in specs])
    work = Pass(specs, studio.conditions(specs), (first.width, first.height), first.num_inference_steps, draws)
    patches = [_patch(studio, spec) for spec in specs]
    latents = _beginning(studio, work, patches, first.masked_content)
    finished = paint_over(studio, work, patches, latents, first.strength, tick)
    return [np.asarray(picture) for picture in finished]


def _patch(studio: Studio, spec: InpaintSpec) -> Patch:
    """The box that is rendered: the whole resized picture; or the region of the mask, brought to the asked size."""
    picture = studio.inputs.picture(spec.image).convert("RGB")
    if picture.size != tuple(spec.input_size):
        raise CannotRender(f"The picture has {picture.size} pixels, and not {tuple(spec.input_size)} as recorded.")
    mask = fitted_mask(studio.inputs.picture(spec.mask), picture.size, "stretch")
    if spec.invert_mask:
        mask = ImageChops.invert(mask)
    size = spec.width, spec.height
    if spec.area == "whole":
        picture, mask = resized(picture, size, spec.resize_mode), fitted_mask(mask, size, spec.resize_mode)
    paste = feathered(mask, spec.mask_blur)
    box = region(paste, spec.padding, size) if spec.area == "masked" else (0, 0, *size)
    inner, inner_mask = resized(picture.crop(box), size, "fill"), fitted_mask(mask.crop(box), size, "fill")
    if spec.masked_content != "original":
        inner = spread_in(inner, inner_mask)
    return Patch(picture, box, inner, inner_mask, paste.crop(box))


def _beginning(studio: Studio, work: Pass, patches: Sequence[Patch], masked_content: str) -> torch.Tensor:
    """The latents of the patches, with what `masked_content` says under the mask."""
    latents = begin(studio, work, patches)
    if masked_content not in ("latent_noise", "latent_nothing"):
        return latents
    mask = shrunk(mask_of([patch.mask for patch in patches]), studio.pipeline)
    under = work.draws.noise(work.size, studio.pipeline) if masked_content == "latent_noise" else 0
    return latents * (1 - mask) + mask * under
