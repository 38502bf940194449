"""A part of a picture painted anew and put back: what inpaint and outpaint share."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from workers.images import resized
from workers.latents import mask_of, pixels_of
from workers.masks import Box
from workers.passes import Beginning, Pass, from_picture
from workers.studio import Studio, Tick


@dataclass(frozen=True)
class Patch:
    """What is painted of one picture.

    `picture` and `mask` (255 where it paints) are the box of the canvas at the size of the pass.
    `paste` has the box's own size: how much of what was painted shows, and nothing where it is 0.
    """

    canvas: Image.Image
    box: Box
    picture: Image.Image
    mask: Image.Image
    paste: Image.Image

    def put_back(self, painted: np.ndarray) -> Image.Image:
        """The canvas with the painted box; where `paste` is 0 it is the canvas bit for bit."""
        new = resized(Image.fromarray(painted), self.paste.size, "crop")
        finished = self.canvas.copy()
        finished.paste(Image.composite(new, self.canvas.crop(self.box), self.paste), self.box)
        return finished


def paint(studio: Studio, work: Pass, patches: Sequence[Patch], strength: float, tick: Tick) -> list[Image.Image]:
    """Paint each patch from its picture."""
    return paint_over(studio, work, patches, begin(studio, work, patches), strength, tick)


def begin(studio: Studio, work: Pass, patches: Sequence[Patch]) -> torch.Tensor:
    """The latents of the patches' pictures."""
    return studio.vae.encode(pixels_of([patch.picture for patch in patches]), work.draws.generators)


def paint_over(
    studio: Studio, work: Pass, patches: Sequence[Patch], latents: torch.Tensor, strength: float, tick: Tick
) -> list[Image.Image]:
    """Paint each patch from latents, and put it back into its canvas."""
    mask = mask_of([patch.mask for patch in patches])
    pixels = pixels_of([patch.picture for patch in patches])
    painted = from_picture(studio, work, Beginning(latents, strength, mask, pixels), tick)
    pictures = studio.vae.decode(painted)
    return [patch.put_back(picture) for patch, picture in zip(patches, pictures, strict=True)]
