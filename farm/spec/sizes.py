"""Sizes: an image's width and height where a request leaves them to its input, its checkpoint, or a ratio."""

import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from farm.spec.fields import LONGEST_SIDE, MOST_PIXELS

_LEAST_SIDE = 64
_SIZE = re.compile(r"\s*(\d{1,5})\s*[xX\u00d7]\s*(\d{1,5})\s*", re.IGNORECASE)

Size = tuple[int, int]
"""Width and height in pixels."""

VAE_SCALE_FACTOR = 8
"""The pixels to a latent's side, in every family."""

Settings = Mapping[str, Any]

SizeRule = Callable[[Settings, Size, Size | None], dict[str, Any]]
"""(settings, the checkpoint's own size, the input's or None where there is none) to the settings with width and
height, and what else follows from sizes. Raises Misfit.
"""


class Misfit(Exception):
    """A setting that does not fit the others: which one, and why."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


def size_of_checkpoint(settings: Settings, own: Size, _picture: Size | None) -> dict[str, Any]:
    return {"width": own[0], "height": own[1], **settings}


def size_of_picture(settings: Settings, _own: Size, picture: Size | None) -> dict[str, Any]:
    assert picture is not None
    return {**settings, **_like(settings, picture)}


def size_of_picture_or_region(settings: Settings, own: Size, picture: Size | None) -> dict[str, Any]:
    """A masked region alone is rendered at the checkpoint's size. The input's is that of the output then."""
    size_rule = size_of_checkpoint if settings.get("area") == "masked" else size_of_picture
    return {**size_rule(settings, own, picture), "input_size": picture}


def _like(settings: Settings, picture: Size) -> dict[str, int]:
    """The input's size; of one side alone the other follows in proportion."""
    width, height = settings.get("width"), settings.get("height")
    if width is not None:
        return {"width": width, "height": height or _nearest(width * picture[1] / picture[0])}
    if height is not None:
        return {"width": _nearest(height * picture[0] / picture[1]), "height": height}
    return {"width": _floor(picture[0]), "height": _floor(picture[1])}


def size_with_sides(settings: Settings, _own: Size, picture: Size | None) -> dict[str, Any]:
    """The output holds the picture and what is added; a side that is no multiple of 8 grows a little more."""
    assert picture is not None
    sides = {name: settings.get(name, 0) for name in ("left", "right", "top", "bottom")}
    aspect = settings.get("aspect")
    if aspect is not None and any(sides.values()):
        raise Misfit("aspect", "give an aspect or pixels for the sides, not both")
    if aspect is not None:
        sides = _sides_for(aspect, picture)
    if not any(sides.values()):
        raise Misfit("aspect" if aspect else "left", "nothing is added: give pixels for a side, or another aspect")
    field, most = _largest(aspect, sides)
    if most > MOST_PIXELS:
        raise Misfit(field, f"would add {most} px on one side; at most {MOST_PIXELS}")
    width, height = picture[0] + sides["left"] + sides["right"], picture[1] + sides["top"] + sides["bottom"]
    sides["right" if sides["right"] or not sides["left"] else "left"] += -width % 8
    sides["bottom" if sides["bottom"] or not sides["top"] else "top"] += -height % 8
    rest = {name: value for name, value in settings.items() if name != "aspect"}
    return {**rest, **sides, "width": width + -width % 8, "height": height + -height % 8}


def _largest(aspect: str | None, sides: Mapping[str, int]) -> tuple[str, int]:
    """What adds most, as the request names it, and how much."""
    name = max(sides, key=lambda side: sides[side])
    return ("aspect" if aspect else name), sides[name]


def _sides_for(aspect: str, picture: Size) -> dict[str, int]:
    """What to add, equally on both sides, so that the picture gets this ratio; nothing is cut off."""
    across, down = map(int, aspect.split(":"))
    ratio, (width, height) = Fraction(across, down), picture
    wider, higher = max(0, round(height * ratio) - width), max(0, round(width / ratio) - height)
    return {"left": wider // 2, "right": wider - wider // 2, "top": higher // 2, "bottom": higher - higher // 2}


def size_enlarged(settings: Settings, _own: Size, picture: Size | None) -> dict[str, Any]:
    """By the scale, or else to the size; of one side alone the other follows in proportion."""
    assert picture is not None
    if "scale" in settings and settings.keys() & {"width", "height"}:
        raise Misfit("scale", "give a scale, or a width and height, not both")
    if settings.keys() & {"width", "height"}:
        return {**settings, **_like(settings, picture)}
    scale = settings.get("scale", 2)
    if max(picture) * scale > LONGEST_SIDE:
        raise Misfit("scale", f"{scale:g} makes {max(picture)} px larger than {LONGEST_SIDE}")
    rest = {name: value for name, value in settings.items() if name != "scale"}
    return {**rest, "width": _nearest(picture[0] * scale), "height": _nearest(picture[1] * scale)}


def _floor(side: float) -> int:
    return max(_LEAST_SIDE, int(side) // 8 * 8)


def _nearest(side: float) -> int:
    return max(_LEAST_SIDE, round(side / 8) * 8)


def read_size(text: str) -> Size | None:
    """Width and height, in pixels, of a text such as 512x768; None where it is no size."""
    match = _SIZE.fullmatch(text)
    return (int(match[1]), int(match[2])) if match else None
