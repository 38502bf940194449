"""The size that a picture's header declares, read from its first bytes without any decoder.

It is read before a file is decoded, to estimate how long that takes. It may be wrong: the decoder checks it.
"""

import re
from collections.abc import Callable, Mapping

from farm.pictures.containers import walk_jpeg

# Each scan has a JPEG's decoder go over all pixels again, for a few bytes: twenty take as long as the rest.
_SCANS = 20

_AVIF_SIZE = re.compile(rb"ispe.{4}(.{4})(.{4})", re.DOTALL)
_SEARCHED_BYTES = 2**20

# More than any picture may have: a file that does not declare its size counts as one of the largest.
_UNKNOWN = 2**62


def estimate_cost(content: bytes) -> int:
    """The pixels of a picture, and more where they take longer; 0 for an unknown format."""
    found = next((cost for start, cost in _COSTS.items() if content.startswith(start)), None)
    if found is not None:
        return found(content)
    return _estimate_avif(content) if content[4:8] == b"ftyp" else 0


def _estimate_png(content: bytes) -> int:
    """From its first chunk (PNG, 5.6); without that the size is unknown."""
    if content[12:16] != b"IHDR":
        return _UNKNOWN
    return _read_big_endian(content[16:20]) * _read_big_endian(content[20:24])


def _estimate_gif(content: bytes) -> int:
    return _read_little_endian(content[6:8]) * _read_little_endian(content[8:10])


def _estimate_bmp(content: bytes) -> int:
    """The height is negative where the first row is the upper one."""
    if _read_little_endian(content[14:18]) == 12:
        return _read_little_endian(content[18:20]) * _read_little_endian(content[20:22])
    return _read_little_endian(content[18:22]) * abs(int.from_bytes(content[22:26], "little", signed=True))


def _estimate_jpeg(content: bytes) -> int:
    jpeg = walk_jpeg(content)
    return jpeg.pixels + jpeg.pixels * jpeg.scans // _SCANS


def _estimate_webp(content: bytes) -> int:
    """RFC 9649: of an extended file the canvas, of the others their one picture."""
    kind = content[12:16]
    if kind == b"VP8X":
        return (1 + _read_little_endian(content[24:27])) * (1 + _read_little_endian(content[27:30]))
    if kind == b"VP8L":
        bits = _read_little_endian(content[21:25])
        return (1 + (bits & 0x3FFF)) * (1 + (bits >> 14 & 0x3FFF))
    return (_read_little_endian(content[26:28]) & 0x3FFF) * (_read_little_endian(content[28:30]) & 0x3FFF)


def _estimate_avif(content: bytes) -> int:
    """The largest of all pictures in it: only a decoder knows which of them is shown."""
    found = _AVIF_SIZE.finditer(content, 0, _SEARCHED_BYTES)
    return max((_read_big_endian(size[1]) * _read_big_endian(size[2]) for size in found), default=_UNKNOWN)


def _read_big_endian(number: bytes) -> int:
    return int.from_bytes(number)


def _read_little_endian(number: bytes) -> int:
    return int.from_bytes(number, "little")


_COSTS: Mapping[bytes, Callable[[bytes], int]] = {
    b"\x89PNG\r\n\x1a\n": _estimate_png,
    b"GIF8": _estimate_gif,
    b"BM": _estimate_bmp,
    b"\xff\xd8": _estimate_jpeg,
    b"RIFF": _estimate_webp,
}
