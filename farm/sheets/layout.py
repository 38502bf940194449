"""The labelled picture of a sweep: one axis across, one down, as the WebUI's X/Y/Z plot lays it out."""

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

_GAP, _LINE, _MARGIN, _ROW_LABELS = 8, 22, 16, 190
_FONT_SIZE, _TITLE_SIZE = 17, 20
_LARGEST_TILE, _SMALLEST_TILE = 512, 24
_MOST_PIXELS = 40_000_000
_PAPER, _INK, _FAINT, _EMPTY = "#14161a", "#f2f2ef", "#9aa0a8", "#23262c"

Place = tuple[int, int]
"""Column and row, from 0."""

Size = tuple[int, int]
"""Width and height in pixels."""


class TooLarge(Exception):
    """There are so many images that none could be seen."""


@dataclass(frozen=True)
class Sheet:
    """A table of images: its title, and what its columns and rows are called; empty where there is no axis."""

    title: str
    columns: Sequence[str]
    rows: Sequence[str]


class Figure:
    """The picture of a sweep: a sheet for each value of the third axis, side by side, or below each other if wide.

    `largest` is the size of the largest image. Tiles have its proportions, at most 512 px, and less where
    the whole would exceed 40 million pixels. Images are pasted one by one, so that no more than one is
    in memory beside the figure. Raises TooLarge where a tile would be a speck.
    """

    def __init__(self, title: str, sheets: Sequence[Sheet], largest: Size) -> None:
        self._sheets = sheets
        self._tile = _fitting_tile(sheets, largest)
        self._sheet_size = _sheet_size(sheets[0], self._tile)
        self._inner = [_inner(sheet, self._tile) for sheet in sheets]
        self._head = _MARGIN + _LINE + 6
        width, height = _whole(self._sheet_size, len(sheets))
        self._canvas = Image.new("RGB", (width, height + self._head), _PAPER)
        self._draw = ImageDraw.Draw(self._canvas)
        self._write(title)

    @property
    def size(self) -> Size:
        return self._canvas.size

    def paste(self, sheet: int, place: Place, image: Image.Image) -> None:
        """Put an image into its tile, centred, in its own proportions. Raises OSError for a damaged one."""
        fitted = image.convert("RGB")
        scale = min(self._tile[0] / fitted.width, self._tile[1] / fitted.height)
        if scale != 1:
            fitted = fitted.resize((max(1, round(fitted.width * scale)), max(1, round(fitted.height * scale))))
        left, top = self._corner(sheet, place)
        across, down = (self._tile[0] - fitted.width) // 2, (self._tile[1] - fitted.height) // 2
        self._canvas.paste(fitted, (left + across, top + down))

    def png(self) -> bytes:
        buffer = io.BytesIO()
        self._canvas.save(buffer, "PNG", compress_level=6)
        return buffer.getvalue()

    def _corner(self, sheet: int, place: Place) -> Place:
        (left, top), inner, (column, row) = self._origin(sheet), self._inner[sheet], place
        return (
            left + inner[0] + column * (self._tile[0] + _GAP),
            top + inner[1] + row * (self._tile[1] + _GAP),
        )

    def _origin(self, sheet: int) -> Place:
        width, height = self._sheet_size
        if _is_row(self._sheet_size, len(self._sheets)):
            return sheet * width, self._head
        return 0, self._head + sheet * height

    def _write(self, title: str) -> None:
        head = _cut(title, self._canvas.width, _TITLE_SIZE)
        self._draw.text((_MARGIN, _MARGIN), head, _INK, ImageFont.load_default(_TITLE_SIZE))
        for number, sheet in enumerate(self._sheets):
            self._write_labels(number, sheet)
            for column in range(len(sheet.columns)):
                for row in range(len(sheet.rows)):
                    left, top = self._corner(number, (column, row))
                    box = (left, top, left + self._tile[0] - 1, top + self._tile[1] - 1)
                    self._draw.rectangle(box, _EMPTY)

    def _write_labels(self, number: int, sheet: Sheet) -> None:
        font = ImageFont.load_default(_FONT_SIZE)
        left, top = self._origin(number)
        title = _cut(sheet.title, self._sheet_size[0], _FONT_SIZE)
        self._draw.text((left + _MARGIN, top + _MARGIN), title, _FAINT, font)
        for column, label in enumerate(_wrapped(sheet.columns, _letters(self._tile[0]))):
            x, y = self._corner(number, (column, 0))
            middle = x + self._tile[0] // 2, y - _GAP
            self._draw.multiline_text(middle, label, _INK, font, anchor="md", align="center")
        for row, label in enumerate(_wrapped(sheet.rows, 18)):
            x, y = self._corner(number, (0, row))
            middle = x - 12, y + self._tile[1] // 2
            self._draw.multiline_text(middle, label, _INK, font, anchor="rm", align="right")


def _fitting_tile(sheets: Sequence[Sheet], largest: Size) -> Size:
    """The largest tile with which the whole is not too large."""
    scale = min(1.0, _LARGEST_TILE / max(largest))
    while True:
        tile = max(1, round(largest[0] * scale)), max(1, round(largest[1] * scale))
        width, height = _whole(_sheet_size(sheets[0], tile), len(sheets))
        if width * height <= _MOST_PIXELS:
            return tile
        scale *= 0.9
        if max(largest) * scale < _SMALLEST_TILE:
            raise TooLarge


def _inner(sheet: Sheet, tile: Size) -> Place:
    """Where the first tile of a sheet lies."""
    heads = max((label.count("\n") + 1 for label in _wrapped(sheet.columns, _letters(tile[0])) if label), default=0)
    title = _LINE + 6 if sheet.title else 0
    return _MARGIN + (_ROW_LABELS if any(sheet.rows) else 0), _MARGIN + title + heads * _LINE + _GAP


def _sheet_size(sheet: Sheet, tile: Size) -> Size:
    left, top = _inner(sheet, tile)
    across, down = len(sheet.columns), len(sheet.rows)
    return left + across * (tile[0] + _GAP) - _GAP + _MARGIN, top + down * (tile[1] + _GAP) - _GAP + _MARGIN


def _is_row(sheet: Size, count: int) -> bool:
    return count * sheet[0] <= 2 * sheet[1]


def _whole(sheet: Size, count: int) -> Size:
    width, height = sheet
    return (count * width, height) if _is_row(sheet, count) else (width, count * height)


def _letters(pixels: int) -> int:
    """How many letters of a label fit into so many pixels."""
    return max(6, pixels // 9)


# More of a label is never seen, and to wrap ten thousand letters takes milliseconds, at each size that is tried.
_LONGEST_LABEL = 1000


def _wrapped(labels: Sequence[str], letters: int) -> list[str]:
    """At most four lines each, the last with an ellipsis where more was cut off."""
    return [
        "\n".join(textwrap.wrap(" ".join(label[:_LONGEST_LABEL].split()), letters, max_lines=4, placeholder="…"))
        for label in labels
    ]


def _cut(text: str, width: int, size: int) -> str:
    """As much of a text, in this size, as fits on one line of so many pixels."""
    return textwrap.shorten(text[:_LONGEST_LABEL], max(10, (width - 2 * _MARGIN) * 2 // size), placeholder="…")
