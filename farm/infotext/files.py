"""Parameters texts in image files: where each format keeps them."""

import warnings
from pathlib import Path

from PIL import Image
from PIL.ExifTags import IFD, Base

from farm.errors import FieldProblem, InvalidRequest
from farm.infotext.exif import read_user_comment
from farm.infotext.reader import Infotext, read_infotext

_FORMATS = ("PNG", "JPEG", "WEBP", "AVIF")
_LARGEST_FILE_BYTES = 512 * 2**20
_LARGEST_TEXT_BYTES = 2**20


def read_file(path: Path) -> Infotext:
    """What the text in an image file asks for. Raises InvalidRequest where there is none, or no image."""
    text = read_image(path)
    if text is None:
        raise _problem(path, "holds no parameters text")
    return read_infotext(text)


def read_image(path: Path) -> str | None:
    """The parameters text of a PNG, JPEG, WebP or AVIF file; None where it holds none. Its pixels are not decoded.

    Raises InvalidRequest where the file is no such image.
    """
    try:
        if path.stat().st_size > _LARGEST_FILE_BYTES:
            raise _problem(path, f"is larger than {_LARGEST_FILE_BYTES // 2**20} MiB")
        with warnings.catch_warnings():
            # Pillow warns of what decoding might cost.
            warnings.simplefilter("ignore")
            with Image.open(path, formats=_FORMATS) as image:
                return _text_in(image)
    except (OSError, ValueError, SyntaxError, RuntimeError, Image.DecompressionBombError):
        raise _problem(path, "is no PNG, JPEG, WebP or AVIF image that can be read") from None


def _problem(path: Path, message: str) -> InvalidRequest:
    return InvalidRequest([FieldProblem(path.name, message)])


def _text_in(image: Image.Image) -> str | None:
    if isinstance(text := image.info.get("parameters"), str):
        return text
    comment = image.getexif().get_ifd(IFD.Exif).get(Base.UserComment)
    if isinstance(comment, str):
        # Some programs write it as a string, whose bytes Pillow takes for Latin-1.
        comment = comment.encode("latin-1", errors="ignore")
    if not isinstance(comment, bytes) or not comment or len(comment) > _LARGEST_TEXT_BYTES:
        return None
    return read_user_comment(comment)
