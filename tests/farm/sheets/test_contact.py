"""One picture of many."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from farm.sheets.contact import Tile, make_contact_sheet

TileOf = Callable[..., Tile]


@pytest.fixture
def tile_of(tmp_path: Path) -> TileOf:
    def make(colour: str, row: str = "a fox", size: tuple[int, int] = (64, 64)) -> Tile:
        path = tmp_path / f"{colour}.png"
        Image.new("RGB", size, colour).save(path)
        return Tile(path, row, f"seed {colour}")

    return make


@pytest.fixture
def sheet_of(tmp_path: Path) -> Callable[..., Image.Image]:
    def draw(*tiles: Tile) -> Image.Image:
        make_contact_sheet(tiles, tmp_path / "sheet.png")
        with Image.open(tmp_path / "sheet.png") as sheet:
            sheet.load()
        return sheet

    return draw


SheetOf = Callable[..., Image.Image]


def test_each_prompt_has_a_row_in_the_order_they_come(tile_of: TileOf, sheet_of: SheetOf) -> None:
    sheet = sheet_of(tile_of("red", "one"), tile_of("blue", "two"), tile_of("lime", "one"))
    assert sheet.getpixel((20, 40)) == (255, 0, 0)
    assert sheet.getpixel((20 + 268, 40)) == (0, 255, 0)
    assert sheet.getpixel((20, 40 + 308)) == (0, 0, 255)


def test_the_sheet_is_as_wide_as_its_longest_row(tile_of: TileOf, sheet_of: SheetOf) -> None:
    wide = sheet_of(tile_of("red"), tile_of("blue"), tile_of("lime"))
    assert wide.width > 3 * 256 > sheet_of(tile_of("red"), tile_of("blue")).width


def test_large_images_are_shown_smaller(tile_of: TileOf, sheet_of: SheetOf) -> None:
    sheet = sheet_of(tile_of("red", size=(1024, 512)))
    assert (sheet.width, sheet.height) == (280, 320)


@pytest.mark.parametrize("prompt", ["two\nlines", "", "灯台 등대 🦊", "word " * 2000, "x" * 10_000])
def test_any_prompt_may_head_a_row(tile_of: TileOf, sheet_of: SheetOf, prompt: str) -> None:
    assert sheet_of(tile_of("red", prompt)).getpixel((20, 40)) == (255, 0, 0)


def test_a_long_prompt_stays_inside_the_sheet(tile_of: TileOf, sheet_of: SheetOf) -> None:
    sheet = sheet_of(tile_of("red", "W" * 200))
    assert sheet.crop((sheet.width - 12, 0, sheet.width, 30)).getcolors() == [(12 * 30, (20, 22, 26))]
