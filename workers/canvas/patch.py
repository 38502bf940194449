"""A part of a picture that is painted and pasted back."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from workers.canvas.images import resize
from workers.canvas.masks import Box


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

    def paste_back(self, painted: np.ndarray) -> Image.Image:
        """The canvas with the painted box (uint8, height x width x 3); where `paste` is 0 it stays bit for bit."""
        new = resize(Image.fromarray(painted), self.paste.size, "crop")
        finished = self.canvas.copy()
        finished.paste(Image.composite(new, self.canvas.crop(self.box), self.paste), self.box)
        return finished
