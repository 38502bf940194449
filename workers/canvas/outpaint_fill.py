"""What lies beyond a picture's edges before it is continued there, so that any checkpoint can go on from it."""

import numpy as np
import torch
from PIL import Image, ImageFilter

from farm.spec.sizes import Size
from workers.canvas.images import extend_edges
from workers.canvas.masks import Box
from workers.canvas.outpaint_plan import Expansion
from workers.canvas.patch import Patch

# In shades of 255, at the farthest pixel.
_MAX_NOISE = 32.0


def prime(canvas: Image.Image, expansion: Expansion, feather: int, generator: torch.Generator) -> Patch:
    """The patch of one pass.

    Beyond the edges of what is known its outermost pixels are repeated, the more blurred the farther
    they are, under noise that grows alike. What is painted shows there, and fades out over `feather`
    pixels inside each edge that moves.
    """
    known, window = expansion.known, expansion.window
    inner, size = _known_in_window(known, window), expansion.window_size
    far = _measure_distance(inner, size)
    picture = _continue_edges(canvas.crop(_intersect(known, window)), inner, size, far, generator)
    paste = np.where(far > 0, 1.0, _fade_inwards(expansion, feather))
    return Patch(canvas, window, picture, _to_mask(far > 0), _to_mask(paste))


def _intersect(known: Box, window: Box) -> Box:
    return max(known[0], window[0]), max(known[1], window[1]), min(known[2], window[2]), min(known[3], window[3])


def _known_in_window(known: Box, window: Box) -> Box:
    """What is known of the window, in the window's own pixels."""
    left, top, right, bottom = _intersect(known, window)
    return left - window[0], top - window[1], right - window[0], bottom - window[1]


def _measure_distance(inner: Box, size: Size) -> np.ndarray:
    """How many pixels each lies outside a box, along the farther axis: (height, width); 0 inside it."""
    across, down = (
        np.maximum(inner[axis] - np.arange(size[axis]), np.arange(size[axis]) - inner[axis + 2] + 1).clip(0)
        for axis in (0, 1)
    )
    distance: np.ndarray = np.maximum(across[None, :], down[:, None])
    return distance


def _continue_edges(
    picture: Image.Image, inner: Box, size: Size, far: np.ndarray, generator: torch.Generator
) -> Image.Image:
    reach = int(far.max())
    # Blurred before it is extended too: else a whole corner takes the colour of a single pixel.
    blurs = [ImageFilter.GaussianBlur(reach / part) for part in (8, 3)]
    layers = [extend_edges(picture, size, inner[:2])]
    layers += [extend_edges(picture.filter(blur), size, inner[:2]).filter(blur) for blur in blurs]
    near, middle, distant = (np.asarray(layer, dtype=np.float32) for layer in layers)
    share = (far / reach)[:, :, None]
    blurred = np.where(
        share < 0.5, near + (middle - near) * 2 * share, middle + (distant - middle) * (2 * share - 1)
    )
    noise = torch.randn(size[1], size[0], 3, generator=generator).numpy()
    shades = np.where(share > 0, blurred + noise * _MAX_NOISE * share, near)
    return Image.fromarray(shades.round().clip(0, 255).astype(np.uint8))


def _fade_inwards(expansion: Expansion, feather: int) -> np.ndarray:
    """What shows of the new inside each edge that moves: nearly all at the edge, nothing `feather` pixels on."""
    window, size = expansion.window, expansion.window_size
    shown = np.zeros((size[1], size[0]))
    for edge, (before, after) in enumerate(zip(expansion.known, expansion.grown, strict=True)):
        if before == after:
            continue
        places = np.arange(size[edge % 2]) + window[edge % 2]
        depth = places - before + 1 if edge < 2 else before - places
        line = (1 - depth / (feather + 1)).clip(0, 1)
        shown = np.maximum(shown, line[None, :] if edge % 2 == 0 else line[:, None])
    return shown


def _to_mask(shares: np.ndarray) -> Image.Image:
    return Image.fromarray((shares * 255.0).round().astype(np.uint8))
