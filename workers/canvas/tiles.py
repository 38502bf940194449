"""A picture in overlapping tiles, and tiles blended to a picture without a seam."""

from math import ceil

import numpy as np

from farm.spec.sizes import Size
from workers.canvas.masks import Box


def split_into_tiles(size: Size, tile: int, overlap: int) -> list[Box]:
    """Boxes of one size, evenly spread row by row, that cover a picture; `tile` and `overlap` are in pixels.

    Neighbours overlap by at least `overlap`.
    """
    across, down = (_split_side(side, tile, overlap) for side in size)
    return [(left, top, right, bottom) for top, bottom in down for left, right in across]


def _split_side(side: int, tile: int, overlap: int) -> list[tuple[int, int]]:
    if side <= tile:
        return [(0, side)]
    number = ceil((side - overlap) / (tile - overlap))
    starts = [(side - tile) * place // (number - 1) for place in range(number)]
    return [(start, start + tile) for start in starts]


class TileBlend:
    """A picture that tiles are added to. Each weighs less towards the edges that it shares, in linear ramps."""

    def __init__(self, size: Size, overlap: int) -> None:
        self._size = size
        self._overlap = overlap
        self._sum = np.zeros((size[1], size[0], 3), dtype=np.float64)
        self._weights = np.zeros((size[1], size[0], 1), dtype=np.float64)

    def add(self, box: Box, pixels: np.ndarray) -> None:
        """Add a tile: uint8 of shape (height, width, 3)."""
        left, top, right, bottom = box
        across, down = (_ramp_weights(box[axis], box[axis + 2], self._size[axis], self._overlap) for axis in (0, 1))
        weights = (down[:, None] * across[None, :])[:, :, None]
        self._sum[top:bottom, left:right] += weights * pixels
        self._weights[top:bottom, left:right] += weights

    def picture(self) -> np.ndarray:
        """The blended picture: uint8 of shape (height, width, 3). The weights of each pixel count as 1 together."""
        return (self._sum / self._weights).round().clip(0, 255).astype(np.uint8)


def _ramp_weights(start: int, end: int, side: int, overlap: int) -> np.ndarray:
    """The weights along one axis: 1 inside and at the picture's own edges, less towards the other edges."""
    places = np.arange(start, end)
    rising = (places - start + 0.5) / max(overlap, 0.5) if start > 0 else np.ones(end - start)
    falling = (end - places - 0.5) / max(overlap, 0.5) if end < side else np.ones(end - start)
    ramps: np.ndarray = np.minimum(np.minimum(rising, falling), 1)
    return ramps
