"""Contact sheets: many images in one, with a row for each prompt and a caption under each image."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

_TILE, _GAP, _CAPTION = 256, 12, 20
_LONGEST_TITLE = 500
_BACKGROUND, _TITLE_COLOUR, _CAPTION_COLOUR = "#14161a", "#f2f2ef", "#9aa0a8"


@dataclass(frozen=True)
class Tile:
    """One image of a sheet."""

    path: Path
    row: str
    caption: str


def make_contact_sheet(tiles: Sequence[Tile], target: Path) -> None:
    """Draw the tiles, a row for each distinct `row` in the order they come, and save a PNG."""
    rows: dict[str, list[Tile]] = {}
    for tile in tiles:
        rows.setdefault(tile.row, []).append(tile)
    columns = max(map(len, rows.values()))
    row_height = _TILE + 2 * _CAPTION + _GAP
    sheet = Image.new("RGB", (_GAP + columns * (_TILE + _GAP), _GAP + len(rows) * row_height), _BACKGROUND)
    for number, (title, line) in enumerate(rows.items()):
        _draw_row(sheet, _GAP + number * row_height, title, line)
    sheet.save(target, "PNG")


def _draw_row(sheet: Image.Image, top: int, title: str, tiles: Sequence[Tile]) -> None:
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(14)
    draw.text((_GAP, top), _shorten_to_fit(draw, title, font, sheet.width - 2 * _GAP), _TITLE_COLOUR, font)
    for column, tile in enumerate(tiles):
        left = _GAP + column * (_TILE + _GAP)
        with Image.open(tile.path) as image:
            image.thumbnail((_TILE, _TILE))
            sheet.paste(image, (left, top + _CAPTION))
        draw.text((left, top + _CAPTION + _TILE + 2), tile.caption, _CAPTION_COLOUR, ImageFont.load_default(12))


def _shorten_to_fit(
    draw: ImageDraw.ImageDraw, text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int
) -> str:
    """The text as one line, shortened with an ellipsis to fit the width in pixels."""
    text = " ".join(text[:_LONGEST_TITLE].split())
    if draw.textlength(text, font) <= width:
        return text
    while text and draw.textlength(f"{text}…", font) > width:
        text = text[:-1]
    return f"{text}…"
