"""The little world of the demo checkpoint: its colours and shapes, and what of it training never shows."""

from collections.abc import Mapping
from math import cos, pi, sin

RGB = tuple[int, int, int]
Point = tuple[float, float]
Outline = tuple[Point, ...]

COLOURS: Mapping[str, RGB] = {
    "red": (222, 48, 44),
    "orange": (246, 142, 36),
    "yellow": (252, 216, 62),
    "green": (58, 166, 78),
    "teal": (44, 184, 184),
    "blue": (44, 98, 216),
    "purple": (138, 66, 182),
    "pink": (246, 146, 188),
    "white": (248, 247, 243),
    "gray": (150, 152, 156),
    "black": (30, 31, 36),
}


def _round(radius: float, corners: int = 72) -> Outline:
    return tuple(
        (radius * cos(2 * pi * corner / corners), radius * sin(2 * pi * corner / corners))
        for corner in range(corners)
    )


def _star(points: int = 5, inner: float = 0.46) -> Outline:
    radii = (1.08, 1.08 * inner)
    angles = [pi * corner / points - pi / 2 for corner in range(2 * points)]
    return tuple(
        (radii[corner % 2] * cos(angle), radii[corner % 2] * sin(angle) + 0.06)
        for corner, angle in enumerate(angles)
    )


def _heart(corners: int = 72) -> Outline:
    """The well-known curve of sines and cosines, brought to the size of the others."""
    turns = [2 * pi * corner / corners for corner in range(corners)]
    return tuple(
        (
            sin(turn) ** 3,
            -(13 * cos(turn) - 5 * cos(2 * turn) - 2 * cos(3 * turn) - cos(4 * turn)) / 16 - 0.1,
        )
        for turn in turns
    )


def _cross(arm: float = 0.32) -> Outline:
    quarter = ((-arm, -1.0), (arm, -1.0), (arm, -arm))
    turned = [
        (x * cos(turn) - y * sin(turn), x * sin(turn) + y * cos(turn))
        for turn in (0.0, pi / 2, pi, 3 * pi / 2)
        for x, y in quarter
    ]
    return tuple(turned)


SHAPES: Mapping[str, tuple[Outline, ...]] = {
    "circle": (_round(0.96),),
    "square": (((-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)),),
    "triangle": (((0.0, -0.92), (1.0, 0.82), (-1.0, 0.82)),),
    "star": (_star(),),
    "heart": (_heart(),),
    "diamond": (((0.0, -1.1), (0.78, 0.0), (0.0, 1.1), (-0.78, 0.0)),),
    "ring": (_round(0.98), _round(0.54)),
    "cross": (_cross(),),
}
"""Outlines around (0, 0), about 1 in radius, y downwards; a second one is a hole."""

_COLOUR_NUMBERS = {colour: number for number, colour in enumerate(COLOURS)}
_SHAPE_NUMBERS = {shape: number for number, shape in enumerate(SHAPES)}


def is_unseen(colour: str, shape: str) -> bool:
    """Whether this colour and this shape never come together in training: one shape of each colour."""
    return _SHAPE_NUMBERS[shape] == (3 * _COLOUR_NUMBERS[colour] + 1) % len(SHAPES)


def is_held_out(colour: str, shape: str, background: str) -> bool:
    """Whether training leaves out this colour and shape on this background: one in nine, and all unseen ones."""
    place = (_COLOUR_NUMBERS[colour] * len(SHAPES) + _SHAPE_NUMBERS[shape]) * len(COLOURS)
    return is_unseen(colour, shape) or (place + _COLOUR_NUMBERS[background]) % 9 == 4
