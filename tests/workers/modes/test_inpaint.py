"""Inpaint: what the mask and its blur leave out stays bit for bit, and what they cover is painted."""

from typing import Any

import numpy as np
import pytest
from PIL import Image

from farm.errors import CannotRender
from tests.workers.studios import a_context, a_mask, a_picture, a_spec_of, as_pixels, draw, upload
from workers.canvas.images import resize
from workers.canvas.masks import resize_mask

SIZE = (120, 88)
BOX = (30, 20, 60, 44)
PICTURE = a_picture(*SIZE)
MASK = a_mask(SIZE, BOX)
FAMILIES = pytest.mark.parametrize("family", ["sd15", "sd15-inpaint", "sd2-inpaint", "sdxl", "sdxl-inpaint"])
CONTENTS = pytest.mark.parametrize("content", ["original", "fill", "latent_noise", "latent_nothing"])


def a_small_spec(picture: Image.Image = PICTURE, mask: Image.Image = MASK, **fields: Any) -> Any:
    inputs = {"image": upload(picture), "mask": upload(mask), "input_size": picture.size}
    return a_spec_of("inpaint", **{**inputs, "width": SIZE[0], "height": SIZE[1], **fields})


def paint(family: str = "sd15", **fields: Any) -> np.ndarray:
    return draw(a_context(family), a_small_spec(**fields))[0]


def changed(image: np.ndarray, picture: Image.Image = PICTURE) -> np.ndarray:
    differing: np.ndarray = (image != as_pixels(picture)).any(axis=2)
    return differing


def within(box: tuple[int, ...], margin: int = 0, size: tuple[int, int] = SIZE) -> np.ndarray:
    grown = (box[0] - margin, box[1] - margin, box[2] + margin, box[3] + margin)
    return np.asarray(a_mask(size, grown)) > 0


@FAMILIES
@CONTENTS
@pytest.mark.parametrize("area", ["whole", "masked"])
def test_only_the_mask_is_painted_without_blur(family: str, content: str, area: str) -> None:
    side = {"width": 64, "height": 64} if area == "masked" else {}
    image = paint(family, masked_content=content, area=area, mask_blur=0, num_inference_steps=2, **side)
    assert not changed(image)[~within(BOX)].any()
    assert changed(image)[within(BOX)].mean() > 0.9


@pytest.mark.parametrize("area", ["whole", "masked"])
@pytest.mark.parametrize("blur", [1, 4, 16])
def test_blur_reaches_no_farther_than_three_times_its_pixels(area: str, blur: int) -> None:
    image = paint(area=area, mask_blur=blur, num_inference_steps=2)
    assert not changed(image)[~within(BOX, 3 * blur)].any()
    assert changed(image)[within(BOX, 1)].mean() > 0.9


def test_an_inverted_mask_keeps_what_is_white() -> None:
    image = paint(invert_mask=True, mask_blur=0)
    assert not changed(image)[within(BOX)].any()
    assert changed(image)[~within(BOX)].mean() > 0.9


@pytest.mark.parametrize("area", ["whole", "masked"])
def test_a_mask_without_white_leaves_the_picture_as_it_is(area: str) -> None:
    assert not changed(paint(mask=a_mask(SIZE), area=area)).any()


@pytest.mark.parametrize("area", ["whole", "masked"])
def test_a_mask_of_a_single_pixel_is_painted(area: str) -> None:
    dot = (50, 40, 51, 41)
    image = paint(mask=a_mask(SIZE, dot), area=area, mask_blur=0)
    assert changed(image).sum() == 1
    assert changed(image)[40, 50]


@pytest.mark.parametrize("corner", [(0, 0, 20, 20), (100, 0, 120, 20), (0, 68, 20, 88), (100, 68, 120, 88)])
def test_a_region_at_a_corner_is_pasted_back_in_place(corner: tuple[int, int, int, int]) -> None:
    image = paint(mask=a_mask(SIZE, corner), area="masked", mask_blur=0, padding=200, width=64, height=64)
    assert np.array_equal(changed(image), within(corner))


def test_grey_in_a_mask_counts_as_white_from_the_half_on() -> None:
    grey = Image.new("L", SIZE, 127)
    grey.paste(128, BOX)
    assert np.array_equal(paint(mask=grey, mask_blur=0), paint(mask_blur=0))


@pytest.mark.parametrize("mode", ["stretch", "crop", "fill", "latent"])
def test_a_whole_picture_is_resized_with_its_mask_and_kept_outside_of_it(mode: str) -> None:
    size = (64, 72)
    image = paint(resize_mode=mode, width=64, height=72, mask_blur=0)
    outside = np.asarray(resize_mask(MASK, size, mode)) == 0
    assert not changed(image, resize(PICTURE, size, mode))[outside].any()


def test_a_mask_of_another_size_is_stretched_over_the_picture() -> None:
    twice = MASK.resize((SIZE[0] * 2, SIZE[1] * 2), Image.Resampling.NEAREST)
    assert np.array_equal(paint(mask=twice, mask_blur=0), paint(mask_blur=0))


def test_the_masked_content_changes_what_is_painted() -> None:
    contents = ("original", "fill", "latent_noise", "latent_nothing")
    images = [paint(masked_content=content, strength=0.4, num_inference_steps=5) for content in contents]
    assert len({image.tobytes() for image in images}) == 4


def test_images_of_a_batch_have_their_own_sizes_and_regions() -> None:
    small, inside = a_picture(72, 64, seed=2), (10, 10, 30, 20)
    specs = [
        a_small_spec(area="masked", mask_blur=0),
        a_small_spec(small, a_mask((72, 64), inside), area="masked", mask_blur=0),
    ]
    first, second = draw(a_context(), *specs)
    assert np.array_equal(changed(first), within(BOX))
    assert np.array_equal(changed(second, small), within(inside, size=(72, 64)))


def test_a_picture_of_another_size_than_recorded_is_refused() -> None:
    with pytest.raises(CannotRender, match=r"\(120, 88\)"):
        paint(input_size=(64, 64))
