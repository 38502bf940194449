"""Painting patches of pictures, and pasting them back: what inpaint and outpaint share."""

from collections.abc import Sequence

import torch
from PIL import Image

from workers.canvas.patch import Patch
from workers.sampling.context import RenderContext, StepCallback
from workers.sampling.latents import masks_to_tensor, pictures_to_tensor
from workers.sampling.passes import Pass, StartingLatents, denoise_from_latents


def paint(
    context: RenderContext, pass_: Pass, patches: Sequence[Patch], strength: float, step_callback: StepCallback
) -> list[Image.Image]:
    """Paint each patch from its own picture; return the canvases with them."""
    return paint_from_latents(
        context, pass_, patches, encode_patches(context, pass_, patches), strength, step_callback
    )


def encode_patches(context: RenderContext, pass_: Pass, patches: Sequence[Patch]) -> torch.Tensor:
    """The latents (patches, 4, height / 8, width / 8) of the patches' pictures."""
    return context.vae.encode(
        pictures_to_tensor([patch.picture for patch in patches]), pass_.noise_source.generators
    )


def paint_from_latents(
    context: RenderContext,
    pass_: Pass,
    patches: Sequence[Patch],
    latents: torch.Tensor,
    strength: float,
    step_callback: StepCallback,
) -> list[Image.Image]:
    """Paint each patch from latents (patches, 4, height / 8, width / 8), and paste it back into its canvas."""
    mask = masks_to_tensor([patch.mask for patch in patches])
    pixels = pictures_to_tensor([patch.picture for patch in patches])
    painted = denoise_from_latents(context, pass_, StartingLatents(latents, strength, mask, pixels), step_callback)
    pictures = context.vae.decode(painted)
    return [patch.paste_back(picture) for patch, picture in zip(patches, pictures, strict=True)]
