"""The labelled picture of a sweep: one axis across, one down, as the WebUI's X/Y/Z plot lays it out."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

_GAP, _LINE, _MARGIN = 8, 22, 16
_FONT_SIZE, _TITLE_SIZE = 17, 20
_LARGEST_TILE, _MOST_PIXELS = 512, 80_000_000
_PAPER, _INK, _FAINT, _EMPTY = "#14161a", "#f2f2ef", "#9aa0a8", "#23262c"

Place = tuple[int, int]
"""Column and row, from 0."""


@dataclass(frozen=True)
class Sheet:
    """What a sheet shows: its title, and what its columns and rows are called; empty where there is no axis."""

    title: str
    columns: Sequence[str]
    rows: Sequence[str]


@dataclass(frozen=True)
class _Layout:
    """Where things lie, in pixels."""

    tile: tuple[int, int]
    left: int
    top: int
    size: tuple[int, int]

    def corner(self, place: Place) -> tuple[int, int]:
        column, row = place
        return self.left + column * (self.tile[0] + _GAP), self.top + row * (self.tile[1] + _GAP)


def draw_sheet(sheet: Sheet, pictures: Mapping[Place, Image.Image]) -> Image.Image:
    """The sheet as an RGB picture. Pictures may differ in size: each is fitted into an equal tile.

    Tiles are at most 512 px, and smaller where the whole would exceed 80 million pixels. A place without
    a picture stays empty.
    """
    layout = _lay_out(sheet, list(pictures.values()))
    canvas = Image.new("RGB", layout.size, _PAPER)
    draw = ImageDraw.Draw(canvas)
    _draw_texts(draw, sheet, layout)
    for column in range(len(sheet.columns)):
        for row in range(len(sheet.rows)):
            corner = layout.corner((column, row))
            picture = pictures.get((column, row))
            if picture is None:
                draw.rectangle((*corner, corner[0] + layout.tile[0] - 1, corner[1] + layout.tile[1] - 1), _EMPTY)
            else:
                _paste(canvas, picture, corner, layout.tile)
    return canvas


def _lay_out(sheet: Sheet, pictures: Sequence[Image.Image]) -> _Layout:
    width, height = (max((p.size[side] for p in pictures), default=_LARGEST_TILE) for side in (0, 1))
    across, down = len(sheet.columns), len(sheet.rows)
    share = (_MOST_PIXELS / (across * down * width * height)) ** 0.5
    scale = min(1.0, _LARGEST_TILE / max(width, height), share)
    tile = max(1, round(width * scale)), max(1, round(height * scale))
    left = _MARGIN + (max(map(len, _wrapped(sheet.rows, 18))) and 190)
    lines = max((len(label.split("\n")) for label in _wrapped(sheet.columns, _letters(tile[0]))), default=0)
    heads = lines * _LINE if any(sheet.columns) else 0
    top = _MARGIN + _title_height(sheet) + heads + _GAP
    return _Layout(
        tile,
        left,
        top,
        (left + across * (tile[0] + _GAP) - _GAP + _MARGIN, top + down * (tile[1] + _GAP) - _GAP + _MARGIN),
    )


def _title_height(sheet: Sheet) -> int:
    return _LINE + 6 if sheet.title else 0


def _letters(pixels: int) -> int:
    """How many letters of a label fit into so many pixels."""
    return max(6, pixels // 9)


def _wrapped(labels: Sequence[str], letters: int) -> list[str]:
    """At most four lines each, the last with an ellipsis where more was cut off."""
    return [
        "\n".join(textwrap.wrap(" ".join(label.split()), letters, max_lines=4, placeholder="…")) for label in labels
    ]


def _draw_texts(draw: ImageDraw.ImageDraw, sheet: Sheet, layout: _Layout) -> None:
    font = ImageFont.load_default(_FONT_SIZE)
    if sheet.title:
        draw.text((_MARGIN, _MARGIN), _cut(sheet.title, layout.size[0], _FONT_SIZE), _FAINT, font)
    for column, label in enumerate(_wrapped(sheet.columns, _letters(layout.tile[0]))):
        x = layout.corner((column, 0))[0] + layout.tile[0] // 2
        draw.multiline_text((x, layout.top - _GAP), label, _INK, font, anchor="md", align="center")
    for row, label in enumerate(_wrapped(sheet.rows, 18)):
        y = layout.corner((0, row))[1] + layout.tile[1] // 2
        draw.multiline_text((layout.left - 12, y), label, _INK, font, anchor="rm", align="right")


def _cut(text: str, width: int, size: int) -> str:
    """As much of a text, in this size, as fits on one line of so many pixels."""
    return textwrap.shorten(text, max(10, (width - 2 * _MARGIN) * 2 // size), placeholder="…")


def _paste(canvas: Image.Image, picture: Image.Image, corner: Place, tile: tuple[int, int]) -> None:
    """Centred in its tile, in its own proportions."""
    fitted = picture.convert("RGB")
    scale = min(tile[0] / fitted.width, tile[1] / fitted.height)
    if scale != 1:
        fitted = fitted.resize((max(1, round(fitted.width * scale)), max(1, round(fitted.height * scale))))
    canvas.paste(fitted, (corner[0] + (tile[0] - fitted.width) // 2, corner[1] + (tile[1] - fitted.height) // 2))


def join_sheets(title: str, sheets: Sequence[Image.Image]) -> Image.Image:
    """The sheets of a third axis in one picture under a title: side by side, or below each other where wide."""
    width, height = max(sheet.width for sheet in sheets), max(sheet.height for sheet in sheets)
    is_row = len(sheets) * width <= 2 * height
    size = (len(sheets) * width, height) if is_row else (width, len(sheets) * height)
    head = _MARGIN + _LINE + 6
    joined = Image.new("RGB", (size[0], size[1] + head), _PAPER)
    font = ImageFont.load_default(_TITLE_SIZE)
    ImageDraw.Draw(joined).text((_MARGIN, _MARGIN), _cut(title, size[0], _TITLE_SIZE), _INK, font)
    for number, sheet in enumerate(sheets):
        joined.paste(sheet, (number * width, head) if is_row else (0, head + number * height))
    return joined
