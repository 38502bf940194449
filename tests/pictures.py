"""Small pictures for tests, as files of every format."""

from io import BytesIO
from typing import Any

from PIL import Image

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
