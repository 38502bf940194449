"""Parameters texts in EXIF: the block that carries one in JPEG, WebP and AVIF.

The block holds what EXIF 2.32 demands of a compressed image (its "Tag Support Levels"), each value in its own type:
piexif, the WebUI's reader, raises on a comment of another, and validators name each tag that is missing.
"""

from collections.abc import Mapping
from typing import Any

from PIL.ExifTags import IFD, Base
from PIL.TiffImagePlugin import IFDRational, ImageFileDirectory_v2
from PIL.TiffTags import LONG, RATIONAL, SHORT, UNDEFINED

ExifEntries = Mapping[int, tuple[int, Any]]
"""Types and values by tag."""

_MARK = b"Exif\0\0"
# Big-endian, as in the comment: some readers take the comment's byte order from here.
_HEADER = b"MM\0\x2a\0\0\0\x08"

# Eight bytes before a user comment say how it is encoded.
_ASCII = b"ASCII\0\0\0"
_UNICODE = b"UNICODE\0"


def as_user_comment(text: str) -> bytes:
    """A text as the WebUI writes it into EXIF: UTF-16, big-endian."""
    return _UNICODE + text.encode("utf-16-be")


def as_short_comment(text: str) -> bytes:
    """A text in fewer bytes. A text beyond ASCII is bare UTF-8, which the WebUI reads, but not every other tool."""
    return _ASCII + text.encode() if text.isascii() else text.encode()


def as_exif(comment: bytes, width: int, height: int) -> bytes:
    """The EXIF block of an image of so many pixels, with this user comment."""
    block, offset = _HEADER, len(_HEADER)
    # The first directory has the same length wherever it says that the second one begins.
    behind = offset + len(_pack_directory(_image_entries(0), offset))
    return (
        _MARK
        + block
        + _pack_directory(_image_entries(behind), offset)
        + _pack_directory(_detail_entries(comment, width, height), behind)
    )


def _image_entries(details_offset: int) -> ExifEntries:
    return {
        Base.XResolution: (RATIONAL, IFDRational(72)),
        Base.YResolution: (RATIONAL, IFDRational(72)),
        Base.ResolutionUnit: (SHORT, 2),
        Base.YCbCrPositioning: (SHORT, 1),
        IFD.Exif: (LONG, details_offset),
    }


def _detail_entries(comment: bytes, width: int, height: int) -> ExifEntries:
    return {
        Base.ExifVersion: (UNDEFINED, b"0232"),
        # Y, Cb, Cr.
        Base.ComponentsConfiguration: (UNDEFINED, b"\1\2\3\0"),
        Base.UserComment: (UNDEFINED, comment),
        Base.FlashPixVersion: (UNDEFINED, b"0100"),
        # sRGB.
        Base.ColorSpace: (SHORT, 1),
        Base.ExifImageWidth: (LONG, width),
        Base.ExifImageHeight: (LONG, height),
    }


def _pack_directory(entries: ExifEntries, offset: int) -> bytes:
    """The bytes of a directory that begins at this offset in the block. Pillow would guess the types by itself."""
    directory = ImageFileDirectory_v2(_HEADER)
    for tag, (kind, value) in entries.items():
        directory.tagtype[tag] = kind
        directory[tag] = value
    return directory.tobytes(offset)
