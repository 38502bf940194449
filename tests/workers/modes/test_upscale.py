"""Upscale: by Lanczos alone, or in tiles that leave no seams."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.workers.studios import a_context, a_picture, a_spec_of, as_pixels, draw, upload
from workers.canvas.tiles import TileBlend, split_into_tiles
from workers.modes.upscale import UPSCALERS

SIDES = st.integers(8, 400)


def a_small_spec(**fields: Any) -> Any:
    settings = {"image": upload(a_picture(64, 48)), "width": 160, "height": 128, "tile": 96, "overlap": 24}
    return a_spec_of("upscale", **{**settings, **fields})


def test_the_lanczos_upscaler_gives_the_pixels_of_a_lanczos_resize() -> None:
    enlarged = a_picture(64, 48).resize((160, 128), Image.Resampling.LANCZOS)
    assert np.array_equal(draw(a_context(), a_small_spec())[0], as_pixels(enlarged))


def test_sd_upscale_renders_tiles_over_the_enlarged_picture() -> None:
    image = draw(a_context(), a_small_spec(upscaler="SD upscale"))[0]
    assert image.shape == (128, 160, 3)
    assert not np.array_equal(image, draw(a_context(), a_small_spec())[0])


def test_each_tile_has_noise_of_its_own() -> None:
    grey = upload(Image.new("RGB", (64, 64), "grey"))
    spec = a_small_spec(image=grey, upscaler="SD upscale", width=128, height=64, tile=64, overlap=0, strength=0.9)
    image = draw(a_context(), spec)[0]
    assert not np.array_equal(image[:, :64], image[:, 64:])


def test_a_single_tile_is_the_picture_denoised_whole() -> None:
    upscaled = a_small_spec(upscaler="SD upscale", tile=160, strength=0.5)
    fields = upscaled.model_dump(include={"image", "width", "height", "strength", "prompt", "seed"})
    whole = a_spec_of("img2img", **fields)
    assert np.array_equal(draw(a_context(), upscaled)[0], draw(a_context(), whole)[0])


@given(SIDES, SIDES, st.integers(32, 128), st.integers(0, 64), st.integers(0, 255))
def test_tiles_of_one_colour_blend_to_that_colour(
    wide: int, high: int, tile: int, overlap: int, shade: int
) -> None:
    overlap = min(overlap, tile // 2)
    blend = TileBlend((wide, high), overlap)
    for left, top, right, bottom in split_into_tiles((wide, high), tile, overlap):
        blend.add((left, top, right, bottom), np.full((bottom - top, right - left, 3), shade, np.uint8))
    assert (blend.picture() == shade).all()


@given(SIDES, st.integers(16, 128), st.integers(0, 64))
def test_tiles_cover_a_picture_and_overlap(side: int, tile: int, overlap: int) -> None:
    overlap = min(overlap, tile // 2)
    boxes = split_into_tiles((side, 8), tile, overlap)
    assert (boxes[0][0], boxes[-1][2]) == (0, side)
    assert {right - left for left, _top, right, _bottom in boxes} == {min(side, tile)}
    assert all(before[2] - after[0] >= overlap for before, after in pairwise(boxes))


def test_a_step_between_two_tiles_becomes_a_ramp() -> None:
    blend = TileBlend((160, 8), 32)
    for number, box in enumerate(split_into_tiles((160, 8), 96, 32)):
        blend.add(box, np.full((8, 96, 3), 200 * number, np.uint8))
    steps = np.diff(blend.picture()[0, :, 0].astype(int))
    assert steps.min() >= 0
    assert steps.max() <= 8


@pytest.mark.parametrize("name", ["Lanczos", "SD upscale"])
def test_every_upscaler_that_a_spec_may_name_is_implemented(name: str) -> None:
    assert name in UPSCALERS
