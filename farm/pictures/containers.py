"""How the files of pictures are laid out: how many scans a JPEG has, and what is appended to a file's end.

A file that is a picture to one program and an archive or a page to another is likely an attack. It would do no
harm here, where only pixels are kept, but is refused. Data after a picture's end may be harmless, though: phones
append a film or a second picture, and a cropped screenshot may keep the rest of the larger one. So only data that
begins like a known foreign format is refused.
"""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

_LOOKED_AT_BYTES = 4096

# What fills a file up to a round size.
_PADDING = b"\0\xff \t\r\n"

# Long enough to be no accident among bytes of another picture; pages are looked for in any case of letters.
_SIGNS: Mapping[bytes, str] = {
    b"pk\x03\x04": "a ZIP archive",
    b"rar!\x1a\x07": "a RAR archive",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"%pdf-": "a PDF document",
    b"\x7felf": "a program",
    b"<html": "a page",
    b"<!doctype": "a page",
    b"<script": "a page",
    b"<svg": "an SVG drawing",
    b"<?php": "a script",
}
# Two letters may occur anywhere, but hardly at the very beginning.
_PROGRAM = b"MZ"

# Files of the largest size have far fewer, and walking through more takes seconds.
_MOST_PIECES = 1_000_000


def find_trailing_data(content: bytes, format: str) -> str | None:
    """The foreign data appended to a picture of Pillow's `format`, such as "a page"; None where there is none."""
    end = _ENDS[format](content)
    rest = content[end : end + _LOOKED_AT_BYTES]
    if rest.lstrip(_PADDING).startswith(_PROGRAM):
        return "a program"
    lowered = rest.lower()
    return next((kind for sign, kind in _SIGNS.items() if sign in lowered), None)


# After FF comes a marker, unless it is stuffing (00), fill (FF) or a restart, which belong to the scan.
_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")

# A segment holds up to 64 kB: a JPEG of the largest size has a few hundred, and its decoder goes over each.
_MOST_MARKERS = 50_000


_END, _SCAN = 0xD9, 0xDA
# Those that no length follows.
_BARE = frozenset({0x01, 0xD8})
# Start of frame, for any coding: height and width follow (B.2.2).
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


class Jpeg(NamedTuple):
    """How many scans a JPEG has, where it ends, and the pixels of its largest frame."""

    scans: int
    end: int
    pixels: int


def walk_jpeg(content: bytes) -> Jpeg:
    """Read the markers of a JPEG (ITU T.81, B.1): it ends after its end marker, else with the file.

    One of countless markers is taken to have as many scans.
    """
    scans, position, pixels = 0, 2, 0
    for _ in range(_MOST_MARKERS):
        found = _MARKER.search(content, position)
        if found is None:
            return Jpeg(scans, len(content), pixels)
        marker, position = found[1][0], found.end()
        if marker == _END:
            return Jpeg(scans, position, pixels)
        scans += marker == _SCAN
        if marker in _FRAMES:
            height, width = content[position + 3 : position + 5], content[position + 5 : position + 7]
            pixels = max(pixels, int.from_bytes(height) * int.from_bytes(width))
        if marker not in _BARE:
            position += int.from_bytes(content[position : position + 2])
    return Jpeg(_MOST_MARKERS, len(content), pixels)


def _find_jpeg_end(content: bytes) -> int:
    return walk_jpeg(content).end


def _find_png_end(content: bytes) -> int:
    """After the chunk IEND (PNG, 5.3: length, type, content, checksum)."""
    position = 8
    for _ in range(_MOST_PIECES):
        kind = content[position + 4 : position + 8]
        position += 12 + int.from_bytes(content[position : position + 4])
        if kind == b"IEND" or position >= len(content):
            break
    return position


def _find_gif_end(content: bytes) -> int:
    """After the trailer, 3B (GIF89a, 27); where an unknown block begins, at the end of the file."""
    position = 13 + _measure_palette(content[10:11])
    for _ in range(_MOST_PIECES):
        kind = content[position : position + 1]
        if kind == b";":
            return position + 1
        if kind == b",":
            position = _skip_blocks(
                content, position + 11 + _measure_palette(content[position + 9 : position + 10])
            )
        elif kind == b"!":
            position = _skip_blocks(content, position + 2)
        else:
            break
    return len(content)


def _measure_palette(flags: bytes) -> int:
    """The length in bytes of a GIF's colour table."""
    packed = int.from_bytes(flags)
    return 3 << (packed & 7) + 1 if packed & 0x80 else 0


def _skip_blocks(content: bytes, position: int) -> int:
    """After a GIF's chain of blocks, each led by its length, the last one of length 0."""
    for _ in range(_MOST_PIECES):
        length = int.from_bytes(content[position : position + 1])
        position += 1 + length
        if not length:
            return position
    return len(content)


def _find_webp_end(content: bytes) -> int:
    """As the header of RIFF says; content of an odd length has a byte of padding."""
    length = int.from_bytes(content[4:8], "little")
    return 8 + length + length % 2


def _find_bmp_end(content: bytes) -> int:
    """As the header says, which some writers leave at 0."""
    return int.from_bytes(content[2:6], "little") or len(content)


def _find_avif_end(content: bytes) -> int:
    """After the last box that fits (ISO 14496-12, 4.2: length, type; length 1 is one of 64 bits, 0 the rest)."""
    position = 0
    for _ in range(_MOST_PIECES):
        length, least = int.from_bytes(content[position : position + 4]), 8
        if length == 1:
            length, least = int.from_bytes(content[position + 8 : position + 16]), 16
        if not least <= length <= len(content) - position:
            break
        position += length
    return position


_ENDS: Mapping[str, Callable[[bytes], int]] = {
    "PNG": _find_png_end,
    "JPEG": _find_jpeg_end,
    # What Pillow calls a JPEG that holds a second one.
    "MPO": _find_jpeg_end,
    "WEBP": _find_webp_end,
    "AVIF": _find_avif_end,
    "GIF": _find_gif_end,
    "BMP": _find_bmp_end,
}
