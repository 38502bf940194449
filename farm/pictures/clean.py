"""Pictures from outside: read with suspicion, and written anew with nothing in them but pixels.

What is kept of a picture is a PNG of our own making, named by its sha256. Whatever else a file carried
(metadata, a second picture behind it, an exploit for somebody's decoder) is gone with the file.

`clean` is what the portal calls: it looks at lengths and headers alone, and has `decode` run in a process of
`farm.pictures.decoding`.
"""

import hashlib
import struct
import zlib
from dataclasses import dataclass
from io import BytesIO
from typing import Literal

from PIL import Image, ImageCms, ImageFile

from farm.errors import InvalidRequest
from farm.pictures.containers import glued, walk_jpeg
from farm.pictures.decoding import DECODERS, LEAST_COST, DecodingFailed, DecodingTooSlow
from farm.pictures.masks import read_mask
from farm.pictures.sizes import cost_of

MEDIA_TYPE = "image/png"

Role = Literal["input", "mask"]

_FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "GIF", "BMP")
_TAKEN = "PNG, JPEG, WebP, AVIF, GIF and BMP are taken"

# A strip one pixel high, scaled until it covers a canvas, would fill the memory of whoever renders it.
_MOST_OBLONG = 32

# Encoders write about ten scans; each one more has the decoder go over all pixels again, for a few bytes.
_MOST_SCANS = 100
# A picture may cost as much as twice the most pixels that are taken: of the largest that is twenty scans.
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
class Limits:
    """How much one picture may be: the bytes of its file, and width times height."""

    most_bytes: int
    most_pixels: int


@dataclass(frozen=True)
class Cleaned:
    """A picture as it is kept: a PNG, 8 bits to a channel, RGB or (a mask) grey. `sha256` is that of the PNG.

    `note` says how a mask was read, where that is not plain to see.
    """

    content: bytes
    width: int
    height: int
    sha256: str
    note: str | None = None


@dataclass(frozen=True)
class Decoded:
    """What a process made of a picture; `note` is that of Cleaned."""

    png: bytes
    width: int
    height: int
    note: str | None


def clean_picture(content: bytes, *, limits: Limits, field: str = "image", user: str = "") -> Cleaned:
    """The picture in RGB: upright, in sRGB, transparency over white, of an animation the first frame.

    White is what the WebUI puts under transparency. Raises InvalidRequest, which names the field; Busy.
    """
    return clean(content, role="input", limits=limits, field=field, user=user)


def clean_mask(content: bytes, *, limits: Limits, field: str = "mask", user: str = "") -> Cleaned:
    """The mask in grey, as `farm.pictures.masks` reads it. Raises InvalidRequest, which names the field; Busy."""
    return clean(content, role="mask", limits=limits, field=field, user=user)


def clean(content: bytes, *, role: Role, limits: Limits, field: str, user: str = "") -> Cleaned:
    """Clean what a user sent as a picture or as a mask. Raises InvalidRequest, which names the field; Busy."""
    if not content:
        raise InvalidRequest.at(field, "is empty")
    if len(content) > limits.most_bytes:
        raise InvalidRequest.at(field, f"is larger than {limits.most_bytes:,} bytes, the most that this farm takes")
    cost = max(_cost(content, limits, field), LEAST_COST)
    wish = {"role": role, "most_pixels": limits.most_pixels, "paid_pixels": cost}
    try:
        said, png = DECODERS.decode(user, cost, wish, content)
    except DecodingTooSlow:
        raise InvalidRequest.at(
            field, "takes too long to decode for its size; save it again, as a PNG say"
        ) from None
    except DecodingFailed:
        raise InvalidRequest.at(field, _DAMAGED) from None
    if "refused" in said:
        raise InvalidRequest.at(field, said["refused"])
    return Cleaned(png, said["width"], said["height"], hashlib.sha256(png).hexdigest(), said["note"])


def _cost(content: bytes, limits: Limits, field: str) -> int:
    """What the file says that it costs to decode, in pixels; too many alone are left to `decode` to refuse."""
    cost, most = cost_of(content), _MOST_TIMES * limits.most_pixels
    if content.startswith(b"\xff\xd8") and (jpeg := walk_jpeg(content)).scans:
        if jpeg.scans > _MOST_SCANS:
            raise InvalidRequest.at(field, f"has more than {_MOST_SCANS} scans; save it again, as a PNG say")
        if jpeg.pixels <= limits.most_pixels < most < cost:
            said = (
                f"has {jpeg.scans} scans of {jpeg.pixels / 1e6:.3g} megapixels each, which take too long to decode"
            )
            raise InvalidRequest.at(field, f"{said}; save it again, as a PNG say")
    return min(cost, most)


def decode(content: bytes, *, role: Role, most_pixels: int, paid_pixels: int) -> Decoded:
    """Decode a picture or a mask and encode it anew: one of as many pixels as its beginning said, or fewer.

    Raises InvalidRequest, which names no field.
    """
    with _opened(content, most_pixels) as image:
        if image.width * image.height > paid_pixels:
            raise InvalidRequest.at("", "is larger than it says at its beginning; save it again, as a PNG say")
        try:
            colour, alpha = _split(image)
            kept, note = (_picture(image, colour, alpha), None) if role == "input" else read_mask(colour, alpha)
            upright = _upright(kept, image)
        except _BROKEN:
            raise InvalidRequest.at("", _DAMAGED) from None
    return Decoded(_encode(upright), upright.width, upright.height, note)


def _opened(content: bytes, most_pixels: int) -> ImageFile.ImageFile:
    """The picture with its header read and checked, no pixel decoded."""
    try:
        image = Image.open(BytesIO(content), formats=_FORMATS)
    except Image.DecompressionBombError:
        raise _too_many_pixels(most_pixels) from None
    except _BROKEN as error:
        if "MAX_TEXT" in str(error):
            raise InvalidRequest.at(
                "", "holds a colour profile or text that unpacks to far too much; save it anew"
            ) from None
        # The class of the error tells damage from a foreign format, but not reliably.
        raise InvalidRequest.at("", f"is no picture that can be read here, or is damaged: {_TAKEN}") from None
    width, height = image.size
    if width * height > most_pixels:
        raise _too_many_pixels(most_pixels, f" of {width:,} x {height:,}")
    if max(width, height) > _MOST_OBLONG * min(width, height):
        raise InvalidRequest.at(
            "", f"is {width} x {height} pixels: no side may be more than {_MOST_OBLONG} times the other; crop it"
        )
    if foreign := glued(content, image.format or ""):
        raise InvalidRequest.at("", f"has {foreign} glued to its end; save it again, as a PNG say")
    return image


def _too_many_pixels(most_pixels: int, size: str = "") -> InvalidRequest:
    megapixels = f"{most_pixels / 1e6:g}"
    return InvalidRequest.at(
        "", f"has too many pixels{size}: this farm takes up to {megapixels} megapixels; scale it down"
    )


def _upright(pixels: Image.Image, image: Image.Image) -> Image.Image:
    """The pixels turned as the file's EXIF data says; what cannot be read there says nothing."""
    try:
        turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    except _BROKEN:
        turn = None
    return pixels if turn is None else pixels.transpose(turn)


def _picture(image: ImageFile.ImageFile, colour: Image.Image, alpha: Image.Image | None) -> Image.Image:
    picture = _in_srgb(colour, image.info.get("icc_profile"))
    if alpha is None:
        return picture
    white = Image.new("RGB", picture.size, "white")
    white.paste(picture, mask=alpha)
    return white


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


def _encode(image: Image.Image) -> bytes:
    """The same pixels give the same bytes, as long as the farm's Pillow stays the same."""
    image.info.clear()
    encoded = BytesIO()
    image.save(encoded, "PNG", compress_level=_COMPRESS_LEVEL)
    return encoded.getvalue()
