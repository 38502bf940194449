"""Pictures brought to other sizes."""

from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image

from farm.spec.sizes import Size

LANCZOS = Image.Resampling.LANCZOS


def resize(picture: Image.Image, size: Size, resize_mode: str = "stretch") -> Image.Image:
    """A picture at another size: stretched, cropped to its middle, or whole with its edges continued.

    One that has the size already is returned as it is. Where latents are to be enlarged instead of
    pixels, `latent`, pixels are stretched.
    """
    return picture if picture.size == size else _RESIZE_BY_MODE[resize_mode](picture, size)


def _stretch(picture: Image.Image, size: Size) -> Image.Image:
    return picture.resize(size, LANCZOS)


def _crop(picture: Image.Image, size: Size) -> Image.Image:
    scale = max(size[0] / picture.width, size[1] / picture.height)
    # Rounding must not lead over the edge.
    wide, high = min(picture.width, size[0] / scale), min(picture.height, size[1] / scale)
    left, top = (picture.width - wide) / 2, (picture.height - high) / 2
    return picture.resize(size, LANCZOS, box=(left, top, left + wide, top + high))


def _fill(picture: Image.Image, size: Size) -> Image.Image:
    """All of the picture in the middle; what is left over on two sides continues its edges."""
    scale = min(size[0] / picture.width, size[1] / picture.height)
    inner = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    left, top = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    return extend_edges(picture.resize(inner, LANCZOS), size, (left, top))


def extend_edges(picture: Image.Image, size: Size, corner: tuple[int, int]) -> Image.Image:
    """A picture with its `corner` (left, top) on a larger canvas, its outermost pixels repeated all around."""
    left, top = corner
    across = left, size[0] - left - picture.width
    down = top, size[1] - top - picture.height
    pixels = np.asarray(picture)
    margins = [down, across, (0, 0)][: pixels.ndim]
    return Image.fromarray(np.pad(pixels, margins, mode="edge"))


_RESIZE_BY_MODE: Mapping[str, Callable[[Image.Image, Size], Image.Image]] = {
    "stretch": _stretch,
    "crop": _crop,
    "fill": _fill,
    "latent": _stretch,
}
