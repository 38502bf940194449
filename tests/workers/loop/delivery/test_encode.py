"""From pixels to files."""

import hashlib
import io
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from PIL import Image
from sd_parsers import ParserManager

from farm.infotext import infotext, read_image, spec_of
from farm.spec.image import ImageSpec
from tests.factories import a_spec
from tests.specs import specs
from workers.loop.delivery.encode import THUMBNAIL_SIDE, encode, encode_png, encode_thumbnail
from workers.loop.delivery.spoolfile import EncodedFile

FORMATS = ("png", "jpeg", "webp", "avif")


def some_pixels(height: int = 48, width: int = 64) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)


def opened(file: EncodedFile) -> Image.Image:
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


@pytest.mark.parametrize(
    ("image_format", "suffix", "media_type"),
    [
        ("png", ".png", "image/png"),
        ("jpeg", ".jpg", "image/jpeg"),
        ("webp", ".webp", "image/webp"),
        ("avif", ".avif", "image/avif"),
    ],
)
def test_a_spec_decides_the_format(image_format: str, suffix: str, media_type: str) -> None:
    file = encode(some_pixels(), a_spec(image_format=image_format), "text")
    assert (file.suffix, file.media_type, Image.MIME[opened(file).format or ""]) == (suffix, media_type, media_type)
    assert (file.width, file.height) == opened(file).size == (64, 48)
    assert file == encode(some_pixels(), a_spec(image_format=image_format), "text")


@pytest.mark.parametrize("image_format", FORMATS[1:])
def test_a_spec_decides_the_quality(image_format: str) -> None:
    sizes = [
        len(encode(some_pixels(), a_spec(image_format=image_format, quality=quality), "").content)
        for quality in (10, 50, 95)
    ]
    assert sizes == sorted(sizes)


@pytest.mark.parametrize("image_format", FORMATS[1:])
def test_a_lossy_image_looks_like_its_pixels(image_format: str) -> None:
    height, width = np.mgrid[0:64, 0:64] * 2
    pixels = np.stack([height, width, np.full((64, 64), 99)], axis=2).astype(np.uint8)
    found = np.asarray(opened(encode(pixels, a_spec(image_format=image_format), "text")).convert("RGB"))
    assert np.abs(found.astype(int) - pixels).mean() < 4


def in_a_file(file: EncodedFile) -> str | None:
    with tempfile.NamedTemporaryFile(suffix=file.suffix) as place:
        place.write(file.content)
        place.flush()
        return read_image(Path(place.name))


@given(spec=specs())
@settings(deadline=None)
def test_a_spec_is_read_back_from_its_image(spec: ImageSpec) -> None:
    text = in_a_file(encode(some_pixels(16, 16), spec, infotext(spec, "a" * 64)))
    assert text is not None
    assert spec_of(text) == spec


@pytest.mark.parametrize("image_format", FORMATS[:3])
def test_another_program_finds_the_text(image_format: str) -> None:
    spec = a_spec(prompt="a fox, \u706f\u53f0", negative_prompt="fog", image_format=image_format)
    found = ParserManager().parse(opened(encode(some_pixels(), spec, infotext(spec, "a" * 64))))
    assert found is not None
    assert (found.full_prompt, found.full_negative_prompt) == (spec.prompt, "fog")


@pytest.mark.parametrize(("text", "kept"), [("x" * 40_000, True), ("\u706f" * 60_000, False)])
def test_a_text_too_long_for_jpeg_is_written_shorter_or_not_at_all(text: str, kept: bool) -> None:
    found = in_a_file(encode(some_pixels(), a_spec(image_format="jpeg"), text))
    assert found == (text if kept else None)


@pytest.mark.parametrize("image_format", FORMATS[2:])
def test_other_formats_have_room_for_every_text(image_format: str) -> None:
    assert (
        in_a_file(encode(some_pixels(), a_spec(image_format=image_format), "\u706f" * 60_000)) == "\u706f" * 60_000
    )
