"""Pictures from users: checked, decoded, and encoded again with nothing in them but pixels.

A picture is stored as a PNG that this module encodes, named by its sha256. Everything else in a file (metadata, a
second picture after it, an exploit for a decoder) is dropped.

The portal calls `clean`, which checks only lengths and headers, and has `decode` run in a process of
`farm.pictures.decoderpool`.
"""

import hashlib
import struct
import zlib
from dataclasses import dataclass
from io import BytesIO
from typing import Literal

from PIL import Image, ImageCms, ImageFile

from farm.errors import InvalidRequest
from farm.pictures.containers import find_trailing_data, walk_jpeg
from farm.pictures.decoderpool import DECODERS, LEAST_COST
from farm.pictures.decoderprocess import DecodingFailed, DecodingTooSlow
from farm.pictures.masks import read_mask
from farm.pictures.sizes import estimate_cost

MEDIA_TYPE = "image/png"

PictureRole = Literal["input", "mask"]

_FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "GIF", "BMP")
_ACCEPTED = "PNG, JPEG, WebP, AVIF, GIF and BMP are accepted"

# A strip one pixel high, scaled until it covers a canvas, would fill a worker's memory.
_MOST_OBLONG = 32

# Encoders write about ten scans; each one more has the decoder go over all pixels again, for a few bytes.
_MOST_SCANS = 100
# A picture may cost as much as twice the most pixels allowed: for the largest that is twenty scans.
_MOST_TIMES = 2

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

_DAMAGED = "is damaged or cut off; save it again, as a PNG say"


@dataclass(frozen=True)
class PictureLimits:
    """How much one picture may be: the bytes of its file, and width times height."""

    most_bytes: int
    most_pixels: int


@dataclass(frozen=True)
class CleanPicture:
    """A picture as it is stored: a PNG, 8 bits to a channel, RGB or (a mask) grey. `sha256` is that of the PNG.

    `note` says how a mask was read, where that is not plain to see.
    """

    content: bytes
    width: int
    height: int
    sha256: str
    note: str | None = None


@dataclass(frozen=True)
class DecodedPicture:
    """A picture that a process decoded; `note` is that of CleanPicture."""

    png: bytes
    width: int
    height: int
    note: str | None


def clean_picture(content: bytes, *, limits: PictureLimits, field: str = "image", user: str = "") -> CleanPicture:
    """The picture in RGB: upright, in sRGB, transparency over white, of an animation the first frame.

    White is what the WebUI puts under transparency. Raises InvalidRequest, which names the field; Busy.
    """
    return clean(content, role="input", limits=limits, field=field, user=user)


def clean_mask(content: bytes, *, limits: PictureLimits, field: str = "mask", user: str = "") -> CleanPicture:
    """The mask in grey, as `farm.pictures.masks` reads it. Raises InvalidRequest, which names the field; Busy."""
    return clean(content, role="mask", limits=limits, field=field, user=user)


def clean(content: bytes, *, role: PictureRole, limits: PictureLimits, field: str, user: str = "") -> CleanPicture:
    """Clean what a user sent as a picture or as a mask. Raises InvalidRequest, which names the field; Busy."""
    if not content:
        raise InvalidRequest.at(field, "is empty")
    if len(content) > limits.most_bytes:
        raise InvalidRequest.at(field, f"is larger than {limits.most_bytes:,} bytes, the most that this farm takes")
    cost = max(_check_cost(content, limits, field), LEAST_COST)
    request = {"role": role, "most_pixels": limits.most_pixels, "paid_pixels": cost}
    try:
        answer, png = DECODERS.decode(user, cost, request, content)
    except DecodingTooSlow:
        raise InvalidRequest.at(
            field, "takes too long to decode for its size; save it again, as a PNG say"
        ) from None
    except DecodingFailed:
        raise InvalidRequest.at(field, _DAMAGED) from None
    if "refused" in answer:
        raise InvalidRequest.at(field, answer["refused"])
    return CleanPicture(png, answer["width"], answer["height"], hashlib.sha256(png).hexdigest(), answer["note"])


def _check_cost(content: bytes, limits: PictureLimits, field: str) -> int:
    """The cost of decoding by the file's header, in pixels. Too many pixels are refused by `decode`."""
    cost, most = estimate_cost(content), _MOST_TIMES * limits.most_pixels
    if content.startswith(b"\xff\xd8") and (jpeg := walk_jpeg(content)).scans:
        if jpeg.scans > _MOST_SCANS:
            raise InvalidRequest.at(field, f"has more than {_MOST_SCANS} scans; save it again, as a PNG say")
        if jpeg.pixels <= limits.most_pixels < most < cost:
            message = (
                f"has {jpeg.scans} scans of {jpeg.pixels / 1e6:.3g} megapixels each, which take too long to decode"
            )
            raise InvalidRequest.at(field, f"{message}; save it again, as a PNG say")
    return min(cost, most)


def decode(content: bytes, *, role: PictureRole, most_pixels: int, paid_pixels: int) -> DecodedPicture:
    """Decode a picture or a mask and encode it again; it may have no more pixels than its header declares.

    Raises InvalidRequest, which names no field.
    """
    with _open(content, most_pixels) as image:
        if image.width * image.height > paid_pixels:
            raise InvalidRequest.at("", "is larger than its header says; save it again, as a PNG say")
        try:
            colour, alpha = _split_alpha(image)
            kept, note = (_flatten(image, colour, alpha), None) if role == "input" else read_mask(colour, alpha)
            upright = _rotate_upright(kept, image)
        except _BROKEN:
            raise InvalidRequest.at("", _DAMAGED) from None
    return DecodedPicture(_encode(upright), upright.width, upright.height, note)


def _open(content: bytes, most_pixels: int) -> ImageFile.ImageFile:
    """The picture with its header read and checked, no pixel decoded."""
    try:
        image = Image.open(BytesIO(content), formats=_FORMATS)
    except Image.DecompressionBombError:
        raise _too_many_pixels(most_pixels) from None
    except _BROKEN as error:
        if "MAX_TEXT" in str(error):
            raise InvalidRequest.at(
                "", "holds a colour profile or text that is far too large when unpacked; save it again"
            ) from None
        # The class of the error does not reliably distinguish damage from a foreign format.
        raise InvalidRequest.at("", f"is not a picture in a supported format, or is damaged: {_ACCEPTED}") from None
    width, height = image.size
    if width * height > most_pixels:
        raise _too_many_pixels(most_pixels, f" of {width:,} x {height:,}")
    if max(width, height) > _MOST_OBLONG * min(width, height):
        raise InvalidRequest.at(
            "", f"is {width} x {height} pixels: no side may be more than {_MOST_OBLONG} times the other; crop it"
        )
    if foreign := find_trailing_data(content, image.format or ""):
        raise InvalidRequest.at("", f"has {foreign} appended to its end; save it again, as a PNG say")
    return image


def _too_many_pixels(most_pixels: int, size: str = "") -> InvalidRequest:
    megapixels = f"{most_pixels / 1e6:g}"
    return InvalidRequest.at(
        "", f"has too many pixels{size}: this farm accepts up to {megapixels} megapixels; scale it down"
    )


def _rotate_upright(pixels: Image.Image, image: Image.Image) -> Image.Image:
    """Rotate the pixels as the file's EXIF data says; unreadable EXIF data is ignored."""
    try:
        turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    except _BROKEN:
        turn = None
    return pixels if turn is None else pixels.transpose(turn)


def _flatten(image: ImageFile.ImageFile, colour: Image.Image, alpha: Image.Image | None) -> Image.Image:
    picture = _convert_to_srgb(colour, image.info.get("icc_profile"))
    if alpha is None:
        return picture
    white = Image.new("RGB", picture.size, "white")
    white.paste(picture, mask=alpha)
    return white


def _split_alpha(image: ImageFile.ImageFile) -> tuple[Image.Image, Image.Image | None]:
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


def _convert_to_srgb(colour: Image.Image, profile: bytes | None) -> Image.Image:
    """In RGB as sRGB means it. A profile that is broken, or is for another colour mode, is ignored."""
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


def _encode(image: Image.Image) -> bytes:
    """The same pixels give the same bytes, as long as the farm's Pillow stays the same."""
    image.info.clear()
    encoded = BytesIO()
    image.save(encoded, "PNG", compress_level=_COMPRESS_LEVEL)
    return encoded.getvalue()
