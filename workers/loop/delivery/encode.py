"""From pixels to the bytes that are stored: the image with its parameters text, and a thumbnail."""

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import structlog
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from farm.infotext import as_exif, as_short_comment, as_user_comment
from farm.spec.image import ImageSpec
from workers.loop.delivery.spoolfile import EncodedFile

log = structlog.get_logger(__name__)

THUMBNAIL_SIDE = 256
# Level 1 takes a fifth of the time of Pillow's default for 7 % more bytes.
_PNG_LEVEL = 1
# A segment of a JPEG file holds no more.
_LARGEST_JPEG_EXIF_BYTES = 65_533
_C1 = re.compile("[\x80-\x9f]")


@dataclass(frozen=True)
class _Format:
    """A lossy format: Pillow's name for it, and how it is written unless the spec names a quality."""

    name: str
    suffix: str
    quality: int
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def media_type(self) -> str:
        return f"image/{self.name.lower()}"


_LOSSY = {
    "jpeg": _Format("JPEG", ".jpg", 90),
    # The slower methods take three times as long for 6 % fewer bytes.
    "webp": _Format("WEBP", ".webp", 90, {"method": 0}),
    # Slower speeds take nine times as long for 2 % fewer bytes. One thread: the others are encoding, too.
    "avif": _Format("AVIF", ".avif", 80, {"speed": 10, "max_threads": 1}),
}


def encode(pixels: np.ndarray, spec: ImageSpec, parameters: str) -> EncodedFile:
    """The image of uint8 pixels (height, width, 3) in the spec's format, with the text where the WebUI has it."""
    if spec.image_format == "png":
        return encode_png(pixels, parameters)
    return _encode_lossy(pixels, _LOSSY[spec.image_format], spec.quality, parameters)


def encode_png(pixels: np.ndarray, parameters: str) -> EncodedFile:
    """Lossless PNG of uint8 pixels (height, width, 3), with the text that the WebUI reads under `parameters`."""
    text = PngInfo()
    # As the WebUI does, in Latin-1 where that suffices. Readers take Windows' code page for it, which has no C1.
    add = text.add_itxt if _C1.search(parameters) else text.add_text
    add("parameters", parameters)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", pnginfo=text, compress_level=_PNG_LEVEL)
    return EncodedFile(buffer.getvalue(), "image/png", ".png", pixels.shape[1], pixels.shape[0])


def _encode_lossy(pixels: np.ndarray, kind: _Format, quality: int | None, parameters: str) -> EncodedFile:
    height, width = pixels.shape[:2]
    buffer = io.BytesIO()
    exif = _jpeg_exif if kind.name == "JPEG" else _exif
    options = {"quality": quality or kind.quality, "exif": exif(parameters, width, height), **kind.options}
    Image.fromarray(pixels).save(buffer, kind.name, **options)
    return EncodedFile(buffer.getvalue(), kind.media_type, kind.suffix, width, height)


def _exif(parameters: str, width: int, height: int) -> bytes:
    return as_exif(as_user_comment(parameters), width, height)


def _jpeg_exif(parameters: str, width: int, height: int) -> bytes:
    """As far as there is room: else with the text in fewer bytes; else without it."""
    for comment in (as_user_comment(parameters), as_short_comment(parameters)):
        exif = as_exif(comment, width, height)
        if len(exif) <= _LARGEST_JPEG_EXIF_BYTES:
            return exif
    log.warning("A parameters text is too long for a JPEG file and left out.", characters=len(parameters))
    return b""


def encode_thumbnail(pixels: np.ndarray) -> EncodedFile:
    """A JPEG whose longer side is THUMBNAIL_SIDE, or the image's own if that is less.

    WebP would take ten times as long, on a processor that the renders may need.
    """
    image = Image.fromarray(pixels)
    image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.LANCZOS, reducing_gap=2)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=82)
    return EncodedFile(buffer.getvalue(), "image/jpeg", ".jpg", image.width, image.height)
