"""From pixels to files."""

import hashlib
import io

import numpy as np
import pytest
from PIL import Image

from workers.encode import THUMBNAIL_SIDE, encode_png, encode_thumbnail
from workers.spool import Encoded


def some_pixels(height: int = 48, width: int = 64) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)


def opened(file: Encoded) -> Image.Image:
    return Image.open(io.BytesIO(file.content))


def test_a_png_gives_back_every_pixel() -> None:
    assert np.array_equal(np.asarray(opened(encode_png(some_pixels(), "text"))), some_pixels())


@pytest.mark.parametrize(
    "text", ["a fox\nSteps: 20", "灯台, 등대 🦊\nNegative prompt: brouillard\nSteps: 20", "ü", "x" * 20_000]
)
def test_a_png_carries_its_parameters_text(text: str) -> None:
    assert opened(encode_png(some_pixels(), text)).info == {"parameters": text}


def test_the_same_pixels_give_the_same_bytes() -> None:
    assert encode_png(some_pixels(), "灯台") == encode_png(some_pixels(), "灯台")
    assert encode_thumbnail(some_pixels()) == encode_thumbnail(some_pixels())


def test_a_file_knows_its_type_size_and_hash() -> None:
    file = encode_png(some_pixels(), "text")
    assert (file.media_type, file.suffix, file.width, file.height) == ("image/png", ".png", 64, 48)
    assert file.sha256 == hashlib.sha256(file.content).hexdigest()


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [
        (1024, 512, (128, 256)),
        (512, 1024, (256, 128)),
        (512, 512, (THUMBNAIL_SIDE, THUMBNAIL_SIDE)),
        (64, 128, (128, 64)),
    ],
)
def test_a_thumbnail_fits_its_side_and_is_never_enlarged(height: int, width: int, size: tuple[int, int]) -> None:
    file = encode_thumbnail(some_pixels(height, width))
    assert (file.width, file.height) == opened(file).size == size


def test_a_thumbnail_is_a_small_jpeg() -> None:
    file = encode_thumbnail(some_pixels(512, 512))
    assert (file.media_type, file.suffix, opened(file).format) == ("image/jpeg", ".jpg", "JPEG")
    assert len(file.content) < len(encode_png(some_pixels(512, 512), "").content) / 4
