"""Small pictures for tests, as files of every format."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

from PIL import Image

from farm.pictures.decoderpool import DECODERS
from farm.pictures.decoderqueue import QueuedPicture

FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "GIF", "BMP")


def a_picture(width: int = 48, height: int = 32, colour: str = "teal") -> Image.Image:
    """One colour, with a red square in the top left corner: which side is up shows."""
    picture = Image.new("RGB", (width, height), colour)
    picture.paste("red", (0, 0, width // 4, height // 4))
    return picture


def encoded(picture: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    """The picture as a file of this format."""
    content = BytesIO()
    picture.save(content, format, **options)
    return content.getvalue()


def decoded(content: bytes) -> Image.Image:
    """The picture that a file holds, all of it read."""
    with Image.open(BytesIO(content)) as picture:
        picture.load()
    return picture


def a_doubtful_mask() -> bytes:
    """A mask of black and white with one transparent pixel."""
    mask = Image.new("RGBA", (48, 32), "black")
    mask.paste("white", (24, 0, 48, 32))
    mask.putpixel((0, 0), (0, 0, 0, 0))
    return encoded(mask)


@contextmanager
def busy_decoders() -> Iterator[None]:
    """Others' pictures keep every process that decodes."""
    with DECODERS.hold_slot(QueuedPicture("ana", 1)), DECODERS.hold_slot(QueuedPicture("ben", 1)):
        yield
