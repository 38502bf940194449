"""Pictures brought to other sizes, and masks: what is painted, and where."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.workers.studios import a_mask, a_picture, as_pixels
from workers.canvas.images import extend_edges, resize
from workers.canvas.masks import binarize_mask, feather_mask, fill_masked_area, find_masked_region

SIDE = st.integers(1, 80)
SIZE = st.tuples(SIDE, SIDE)


@given(SIZE, SIZE, st.sampled_from(["stretch", "crop", "fill", "latent"]))
def test_a_picture_gets_the_size_that_is_asked(own: tuple[int, int], size: tuple[int, int], how: str) -> None:
    picture = Image.new("RGB", own, (10, 20, 30))
    assert resize(picture, size, how).size == size
    assert (as_pixels(resize(picture, size, how)) == (10, 20, 30)).all()


def test_cropping_keeps_the_middle_and_filling_all_of_it() -> None:
    striped = Image.new("RGB", (90, 30))
    for number, colour in enumerate(("red", "lime", "blue")):
        striped.paste(colour, (30 * number, 0, 30 * number + 30, 30))
    assert (as_pixels(resize(striped, (30, 30), "crop")) == (0, 255, 0)).all()
    filled = resize(striped, (90, 90), "fill")
    assert np.array_equal(as_pixels(filled)[30:60], as_pixels(striped))
    assert np.array_equal(as_pixels(filled)[0], as_pixels(striped)[0])


def test_a_picture_of_the_right_size_is_not_touched() -> None:
    picture = a_picture()
    assert resize(picture, (64, 64), "crop") is picture


def test_extending_repeats_the_outermost_pixels() -> None:
    picture = a_picture(20, 10)
    wide = as_pixels(extend_edges(picture, (40, 30), (5, 15)))
    assert np.array_equal(wide[15:25, 5:25], as_pixels(picture))
    assert (wide[:15, :5] == as_pixels(picture)[0, 0]).all()
    assert (wide[20, 25:] == as_pixels(picture)[5, -1]).all()


def test_a_feather_shows_all_of_the_mask_and_less_around_it() -> None:
    mask = a_mask((80, 80), (30, 30, 50, 50))
    shown = np.asarray(feather_mask(mask, 4)).astype(int)
    assert (shown[np.asarray(mask) > 0] == 255).all()
    assert (np.diff(shown[40, 50:]) <= 0).all()
    assert 0 < shown[40, 52] < 255
    assert shown[40, 30 - 12 - 1] == 0


def test_a_mask_without_blur_is_its_own_feather() -> None:
    mask = a_mask((64, 64), (3, 3, 9, 9))
    assert np.array_equal(np.asarray(feather_mask(mask, 0)), np.asarray(mask))


def test_a_mask_is_made_black_and_white_at_half_brightness() -> None:
    assert [binarize_mask(Image.new("L", (1, 1), shade)).getpixel((0, 0)) for shade in (0, 127, 128, 255)] == [
        0,
        0,
        255,
        255,
    ]


BOXES = st.tuples(st.integers(0, 99), st.integers(0, 79), st.integers(1, 100), st.integers(1, 80))


@given(BOXES, st.integers(0, 120), SIZE)
def test_a_region_holds_the_mask_and_its_padding_within_the_picture(
    box: tuple[int, int, int, int], padding: int, size: tuple[int, int]
) -> None:
    left, top, right, bottom = box[0], box[1], min(100, box[0] + box[2]), min(80, box[1] + box[3])
    found = find_masked_region(a_mask((100, 80), (left, top, right, bottom)), padding, size)
    assert found[0] <= max(0, left - padding)
    assert found[1] <= max(0, top - padding)
    assert min(100, right + padding) <= found[2] <= 100
    assert min(80, bottom + padding) <= found[3] <= 80
    assert min(found) >= 0


def test_a_region_takes_the_asked_proportions_where_there_is_room() -> None:
    assert find_masked_region(a_mask((200, 200), (90, 90, 110, 100)), 0, (64, 64)) == (90, 85, 110, 105)
    assert find_masked_region(a_mask((200, 200), (90, 80, 100, 120)), 0, (64, 64)) == (75, 80, 115, 120)
    assert find_masked_region(a_mask((200, 200), (0, 90, 20, 100)), 0, (64, 128)) == (0, 75, 20, 115)
    assert find_masked_region(a_mask((200, 20), (50, 0, 90, 20)), 0, (64, 64)) == (50, 0, 90, 20)


def test_a_mask_without_white_is_a_region_of_everything() -> None:
    assert find_masked_region(a_mask((100, 80)), 8, (64, 64)) == (0, 0, 100, 80)


def test_the_surroundings_of_a_mask_spread_into_it_and_stay_outside() -> None:
    picture, mask = Image.new("RGB", (64, 64), "red"), a_mask((64, 64), (20, 20, 44, 44))
    picture.paste("blue", (24, 24, 40, 40))
    spread = as_pixels(fill_masked_area(picture, mask))
    assert np.abs(spread.astype(int) - (255, 0, 0)).max() <= 2
    outside = np.asarray(mask) == 0
    assert np.array_equal(spread[outside], as_pixels(picture)[outside])


@pytest.mark.parametrize("box", [(0, 0, 64, 64), (0, 0, 0, 0)])
def test_a_mask_of_everything_or_nothing_spreads_no_invalid_pixels(box: tuple[int, int, int, int]) -> None:
    assert fill_masked_area(a_picture(), a_mask((64, 64), box)).size == (64, 64)
