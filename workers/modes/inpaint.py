"""Inpaint: the masked part of a picture is painted; what the mask and its blur leave out stays bit for bit."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import ImageChops

from farm.errors import CannotRender
from farm.spec.image import InpaintSpec
from workers.canvas.images import resize
from workers.canvas.masks import feather_mask, fill_masked_area, find_masked_region, resize_mask
from workers.canvas.patch import Patch
from workers.modes.painting import encode_patches, paint_from_latents
from workers.renderer import OnStep
from workers.sampling.context import RenderContext, make_step_callback
from workers.sampling.latents import NoiseSource, masks_to_tensor, shrink_mask
from workers.sampling.passes import Pass
from workers.sampling.timesteps import count_steps


def render(context: RenderContext, specs: Sequence[InpaintSpec], on_step: OnStep) -> list[np.ndarray]:
    """Render specs of one batch key and conditioning shape together.

    With the area `masked` each image has its input's size. A mask without white leaves its picture as it is.
    """
    first = specs[0]
    step_callback = make_step_callback(on_step, count_steps(first.num_inference_steps, first.strength))
    noise_source = NoiseSource.from_seeds([spec.seed for spec in specs])
    size, conditioning = (first.width, first.height), context.encode_prompts(specs)
    pass_ = Pass(specs, conditioning, size, first.num_inference_steps, noise_source)
    patches = [_cut_patch(context, spec) for spec in specs]
    latents = _make_starting_latents(context, pass_, patches, first.masked_content)
    finished = paint_from_latents(context, pass_, patches, latents, first.strength, step_callback)
    return [np.asarray(picture) for picture in finished]


def _cut_patch(context: RenderContext, spec: InpaintSpec) -> Patch:
    """The box that is rendered: the whole resized picture; or the region of the mask, brought to the asked size."""
    picture = context.inputs.picture(spec.image).convert("RGB")
    if picture.size != tuple(spec.input_size):
        raise CannotRender(f"The picture has {picture.size} pixels, and not {tuple(spec.input_size)} as recorded.")
    mask = resize_mask(context.inputs.picture(spec.mask), picture.size, "stretch")
    if spec.invert_mask:
        mask = ImageChops.invert(mask)
    size = spec.width, spec.height
    if spec.area == "whole":
        picture, mask = resize(picture, size, spec.resize_mode), resize_mask(mask, size, spec.resize_mode)
    paste = feather_mask(mask, spec.mask_blur)
    box = find_masked_region(paste, spec.padding, size) if spec.area == "masked" else (0, 0, *size)
    inner, inner_mask = resize(picture.crop(box), size, "fill"), resize_mask(mask.crop(box), size, "fill")
    if spec.masked_content != "original":
        inner = fill_masked_area(inner, inner_mask)
    return Patch(picture, box, inner, inner_mask, paste.crop(box))


def _make_starting_latents(
    context: RenderContext, pass_: Pass, patches: Sequence[Patch], masked_content: str
) -> torch.Tensor:
    """The latents (patches, 4, height / 8, width / 8), with what `masked_content` says under the mask."""
    latents = encode_patches(context, pass_, patches)
    if masked_content not in ("latent_noise", "latent_nothing"):
        return latents
    mask = shrink_mask(masks_to_tensor([patch.mask for patch in patches]), context.pipeline)
    under = pass_.noise_source.sample_noise(pass_.size, context.pipeline) if masked_content == "latent_noise" else 0
    return latents * (1 - mask) + mask * under
