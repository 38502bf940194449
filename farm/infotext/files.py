"""Parameters texts in image files: where each format keeps them."""

import warnings
from pathlib import Path

from PIL import Image
from PIL.ExifTags import IFD, Base

from farm.errors import FieldProblem, InvalidRequest
from farm.infotext.reader import Infotext, read_infotext

_FORMATS = ("PNG", "JPEG", "WEBP", "AVIF")
_LARGEST_FILE_BYTES = 512 * 2**20
_LARGEST_TEXT_BYTES = 2**20

# Eight bytes before a user comment say how it is encoded.
_UNICODE = b"UNICODE\0"
_OTHERS = (b"ASCII\0\0\0", bytes(8))


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
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise _problem(path, "is no PNG, JPEG, WebP or AVIF image that can be read") from None


def _problem(path: Path, message: str) -> InvalidRequest:
    return InvalidRequest([FieldProblem(path.name, message)])


def _text_in(image: Image.Image) -> str | None:
    if isinstance(text := image.info.get("parameters"), str):
        return text
    comment = image.getexif().get_ifd(IFD.Exif).get(Base.UserComment)
    if not isinstance(comment, bytes) or not comment or len(comment) > _LARGEST_TEXT_BYTES:
        return None
    return _decoded(comment)


def _decoded(comment: bytes) -> str:
    """UTF-16 in either order of bytes; and UTF-8, marked as something else or not at all."""
    code, body = comment[:8], comment[8:]
    if code == _UNICODE:
        texts = [body.decode(encoding, errors="replace") for encoding in ("utf-16-be", "utf-16-le")]
        text = next((text for text in texts if "Steps: " in text), texts[0])
    else:
        text = (body if code in _OTHERS else comment).decode(errors="replace")
    return text.rstrip("\0")


def as_user_comment(text: str) -> bytes:
    """A text as the WebUI writes it into EXIF: UTF-16, the high byte first."""
    return _UNICODE + text.encode("utf-16-be")


def as_exif(comment: bytes) -> bytes:
    """An EXIF block with this user comment alone."""
    exif = Image.Exif()
    exif.get_ifd(IFD.Exif)[Base.UserComment] = comment
    return exif.tobytes()
