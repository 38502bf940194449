"""Tells by plain measurements what stands in a picture of the demo checkpoint: which shape, which colour, where."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from workers.demo.world import COLOURS, SHAPES, Point

_APART = 36.0
"""Pixels are of one surface if their RGB values, from 0 to 255, are no farther apart than this."""
_SPECK = 0.004
"""What covers less of the picture is dirt."""
_GRID = 64
_LIKENESS = 0.7


@dataclass(frozen=True)
class Seen:
    """One thing: the names nearest to it (`shape` is empty if it resembles none), and its measures.

    `centre` is (x, y) from 0 to 1, `area` the part of the picture that it covers, `likeness` the
    intersection over union with the named shape.
    """

    colour: str
    shape: str
    centre: Point
    area: float
    likeness: float


@dataclass(frozen=True)
class View:
    """The colour at the picture's edges, and the things before it, the largest first."""

    background: str
    things: tuple[Seen, ...]


def look(picture: Image.Image) -> View:
    """What stands on a background of one colour."""
    pixels = np.asarray(picture.convert("RGB"), dtype=np.float32)
    ground = np.median(_edges(pixels), axis=0)
    things = [_seen(pixels, mask) for mask in _surfaces(pixels, ground)]
    return View(nearest_colour(ground), tuple(sorted(things, key=lambda thing: -thing.area)))


def nearest_colour(shade: np.ndarray) -> str:
    """The name of the colour that is nearest to an RGB value."""
    return min(COLOURS, key=lambda name: float(np.linalg.norm(shade - np.array(COLOURS[name]))))


def share_of(colour: str, picture: Image.Image) -> float:
    """The part of a picture's pixels that are nearest to a colour."""
    pixels = np.asarray(picture.convert("RGB"), dtype=np.float32)
    palette = np.array(list(COLOURS.values()), dtype=np.float32)
    nearest = np.linalg.norm(pixels[:, :, None] - palette, axis=-1).argmin(axis=-1)
    return float((nearest == list(COLOURS).index(colour)).mean())


def _edges(pixels: np.ndarray) -> np.ndarray:
    depth = max(2, min(pixels.shape[:2]) // 32)
    rows, columns = np.concatenate([pixels[:depth], pixels[-depth:]]), pixels[:, [*range(depth), *range(-depth, 0)]]
    return np.concatenate([rows.reshape(-1, 3), columns.reshape(-1, 3)])


def _surfaces(pixels: np.ndarray, ground: np.ndarray) -> list[np.ndarray]:
    """A mask for each connected piece that is not background."""
    pieces, count = ndimage.label(np.linalg.norm(pixels - ground, axis=-1) > _APART)
    masks = [pieces == number for number in range(1, count + 1)]
    return [mask for mask in masks if mask.mean() >= _SPECK]


def _seen(pixels: np.ndarray, mask: np.ndarray) -> Seen:
    inner = ndimage.binary_erosion(mask, iterations=2)
    shade = np.median(pixels[inner if inner.any() else mask], axis=0)
    shape, likeness = _nearest_shape(mask)
    y, x = ndimage.center_of_mass(mask)
    centre = ((x + 0.5) / mask.shape[1], (y + 0.5) / mask.shape[0])
    return Seen(nearest_colour(shade), shape, centre, float(mask.mean()), likeness)


def _nearest_shape(mask: np.ndarray) -> tuple[str, float]:
    """The shape whose outline, brought to the same bounding box, covers most of the same."""
    rows, columns = ndimage.find_objects(mask.astype(np.uint8))[0]
    framed = Image.fromarray(mask[rows, columns]).resize((_GRID, _GRID), Image.Resampling.NEAREST)
    found = np.asarray(framed)
    likeness = {
        shape: float((found & outline).sum() / (found | outline).sum()) for shape, outline in _outlines().items()
    }
    best = max(likeness, key=lambda shape: likeness[shape])
    return best if likeness[best] >= _LIKENESS else "", likeness[best]


@cache
def _outlines() -> Mapping[str, np.ndarray]:
    """Each shape as a mask that fills its frame."""
    return {shape: _framed(shape) for shape in SHAPES}


def _framed(shape: str) -> np.ndarray:
    xs, ys = zip(*SHAPES[shape][0], strict=True)
    left, top, width, height = min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)
    mask = Image.new("1", (_GRID, _GRID))
    pencil = ImageDraw.Draw(mask)
    for number, outline in enumerate(SHAPES[shape]):
        points = [((x - left) / width * _GRID, (y - top) / height * _GRID) for x, y in outline]
        pencil.polygon(points, fill=0 if number else 1)
    return np.asarray(mask)
