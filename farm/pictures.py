"""Pictures from outside: read with suspicion, and written anew with nothing in them but pixels.

What is kept of a picture is a PNG of our own making, named by its sha256. Whatever else a file carried
(metadata, a second picture behind it, an exploit for somebody's decoder) is gone with the file.
"""

import hashlib
import struct
import threading
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Literal

from PIL import Image, ImageCms, ImageFile

from farm.errors import Busy, FieldProblem, InvalidRequest
from farm.picturefiles import glued, walk_jpeg

MEDIA_TYPE = "image/png"

Role = Literal["input", "mask"]

_FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "GIF", "BMP")
_TAKEN = "PNG, JPEG, WebP, AVIF, GIF and BMP are taken"

# A strip one pixel high, scaled until it covers a canvas, would fill the memory of whoever renders it.
_MOST_OBLONG = 32

# Encoders write about ten scans; each one more has the decoder go over all pixels again, for a few bytes.
_MOST_SCANS = 100

# What decoders raise on hostile files. Pillow turns some of it into its own errors, not all.
_BROKEN = (
    *(OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError),
    *(RuntimeError, AssertionError, MemoryError, struct.error, zlib.error),
)

# Level 3 takes 0.35 s for 4 Mpx; the usual 6 takes 2.6 s and saves nothing worth it.
_COMPRESS_LEVEL = 3

_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# The mode of the pixels that a colour profile of each space describes.
_PROFILED = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}

# One at a time: 64 Mpx take 8 s and half a gigabyte, and `catch_warnings` is not for two threads at once.
_AT_WORK = threading.Lock()
# Whoever sent a picture has not gone away by then, and is better told to come back than left to wait.
_MOST_WAITING_SECONDS = 30.0


@dataclass(frozen=True)
class Limits:
    """How much one picture may be: the bytes of its file, and width times height."""

    most_bytes: int
    most_pixels: int


@dataclass(frozen=True)
class Cleaned:
    """A picture as it is kept: a PNG, 8 bits to a channel, RGB or (a mask) grey. `sha256` is that of the PNG."""

    content: bytes
    width: int
    height: int
    sha256: str


def clean_picture(content: bytes, *, limits: Limits, field: str = "image") -> Cleaned:
    """The picture in RGB: upright, in sRGB, transparency over white, of an animation the first frame.

    White is what the WebUI puts under transparency. Raises InvalidRequest, which names the field; Busy.
    """
    return _clean(content, limits, field, _picture)


def clean_mask(content: bytes, *, limits: Limits, field: str = "mask") -> Cleaned:
    """The mask in grey: its alpha where it has some transparency, else its brightness, as the WebUI reads masks.

    Raises InvalidRequest, which names the field; Busy.
    """
    return _clean(content, limits, field, _mask)


def clean(content: bytes, *, role: Role, limits: Limits, field: str) -> Cleaned:
    """Clean what was sent as a picture or as a mask. Raises InvalidRequest, which names the field; Busy."""
    return {"input": clean_picture, "mask": clean_mask}[role](content, limits=limits, field=field)


def _clean(
    content: bytes, limits: Limits, field: str, convert: Callable[[ImageFile.ImageFile], Image.Image]
) -> Cleaned:
    if not content:
        raise _refusal(field, "is empty")
    if len(content) > limits.most_bytes:
        raise _refusal(field, f"is larger than {limits.most_bytes:,} bytes, the most that this farm takes")
    with _in_turn(), _undisturbed():
        with _opened(content, limits, field) as image:
            try:
                cleaned = _upright(convert(image), image)
            except _BROKEN:
                raise _refusal(field, "is damaged or cut off; save it again, as a PNG say") from None
        return _encode(cleaned)


@contextmanager
def _in_turn() -> Iterator[None]:
    """Alone at work. Raises Busy where others are for too long."""
    if not _AT_WORK.acquire(timeout=_MOST_WAITING_SECONDS):
        raise Busy
    try:
        yield
    finally:
        _AT_WORK.release()


@contextmanager
def _undisturbed() -> Iterator[None]:
    """No warnings: what Pillow finds odd in a file is either put right here or refused."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _opened(content: bytes, limits: Limits, field: str) -> ImageFile.ImageFile:
    """The picture with its header read and checked, no pixel decoded."""
    try:
        image = Image.open(BytesIO(content), formats=_FORMATS)
    except Image.DecompressionBombError:
        raise _too_many_pixels(limits, field) from None
    except _BROKEN:
        # The class of the error tells damage from a foreign format, but not reliably.
        raise _refusal(field, f"is no picture that can be read here, or is damaged: {_TAKEN}") from None
    width, height = image.size
    if width * height > limits.most_pixels:
        raise _too_many_pixels(limits, field, f" of {width:,} x {height:,}")
    if max(width, height) > _MOST_OBLONG * min(width, height):
        raise _refusal(
            field, f"is {width} x {height} pixels: no side may be more than {_MOST_OBLONG} times the other; crop it"
        )
    if content.startswith(b"\xff\xd8") and walk_jpeg(content)[0] > _MOST_SCANS:
        raise _refusal(field, f"has more than {_MOST_SCANS} scans; save it again, as a PNG say")
    if foreign := glued(content, image.format or ""):
        raise _refusal(field, f"has {foreign} glued to its end; save it again, as a PNG say")
    return image


def _too_many_pixels(limits: Limits, field: str, size: str = "") -> InvalidRequest:
    megapixels = f"{limits.most_pixels / 1e6:g}"
    return _refusal(
        field, f"has too many pixels{size}: this farm takes up to {megapixels} megapixels; scale it down"
    )


def _refusal(field: str, message: str) -> InvalidRequest:
    return InvalidRequest([FieldProblem(field, message)])


def _upright(pixels: Image.Image, image: Image.Image) -> Image.Image:
    """The pixels turned as the file's EXIF data says; what cannot be read there says nothing."""
    try:
        turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    except _BROKEN:
        turn = None
    return pixels if turn is None else pixels.transpose(turn)


def _picture(image: ImageFile.ImageFile) -> Image.Image:
    profile = image.info.get("icc_profile")
    colour, alpha = _split(image)
    picture = _in_srgb(colour, profile)
    if alpha is None:
        return picture
    white = Image.new("RGB", picture.size, "white")
    white.paste(picture, mask=alpha)
    return white


def _mask(image: ImageFile.ImageFile) -> Image.Image:
    colour, alpha = _split(image)
    if alpha is not None and alpha.getextrema() != (255, 255):
        return alpha
    return colour.convert("L")


def _split(image: ImageFile.ImageFile) -> tuple[Image.Image, Image.Image | None]:
    """The colour (RGB, L or CMYK, 8 bits) and the alpha (L); None where nothing can be transparent."""
    image.load()
    if image.has_transparency_data:
        full = image.convert("RGBA")
        return full.convert("RGB"), full.getchannel("A")
    if image.mode.startswith("I"):
        # convert() would cut off at 255.
        return image.convert("I").point(lambda value: value * (1 / 257)).convert("L"), None
    if image.mode in ("L", "CMYK"):
        return image, None
    return image.convert("L" if image.mode == "1" else "RGB"), None


def _in_srgb(colour: Image.Image, profile: bytes | None) -> Image.Image:
    """In RGB as sRGB means it. A profile that is broken, or is for another kind of picture, is passed over."""
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(BytesIO(profile))
            mode = _PROFILED[source.profile.xcolor_space.strip()]
            if colour.mode == mode or (colour.mode, mode) == ("L", "RGB"):
                srgb = ImageCms.createProfile("sRGB")
                turned = ImageCms.profileToProfile(colour.convert(mode), source, srgb, outputMode="RGB")
                return turned if turned is not None else colour.convert("RGB")
        except (*_BROKEN, ImageCms.PyCMSError):
            pass
    return colour.convert("RGB")


def _encode(image: Image.Image) -> Cleaned:
    """The same pixels give the same bytes, as long as the farm's Pillow stays the same."""
    image.info.clear()
    encoded = BytesIO()
    image.save(encoded, "PNG", compress_level=_COMPRESS_LEVEL)
    content = encoded.getvalue()
    return Cleaned(content, image.width, image.height, hashlib.sha256(content).hexdigest())
