"""What a picture's file says of its size, read from its first bytes without any decoder.

It is read before a file is decoded, to know how long that may take. It may be wrong: the decoder looks itself.
"""

import re
from collections.abc import Callable, Mapping

from farm.pictures.containers import walk_jpeg

# Each scan has a JPEG's decoder go over all pixels again, for a few bytes: twenty take as long as the rest.
_SCANS = 20

_AVIF_SIZE = re.compile(rb"ispe.{4}(.{4})(.{4})", re.DOTALL)
_SEARCHED_BYTES = 2**20

# More than any picture may have: what does not say its size is taken for one of the largest.
_UNKNOWN = 2**62


def cost_of(content: bytes) -> int:
    """The pixels of a picture, and more where they take longer; 0 where the file does not say."""
    found = next((cost for start, cost in _COSTS.items() if content.startswith(start)), None)
    if found is not None:
        return found(content)
    return _of_avif(content) if content[4:8] == b"ftyp" else 0


def _of_png(content: bytes) -> int:
    """Its first chunk says it (PNG, 5.6); one that does not begin with that is not believed."""
    if content[12:16] != b"IHDR":
        return _UNKNOWN
    return _big(content[16:20]) * _big(content[20:24])


def _of_gif(content: bytes) -> int:
    return _little(content[6:8]) * _little(content[8:10])


def _of_bmp(content: bytes) -> int:
    """The height is negative where the first row is the upper one."""
    if _little(content[14:18]) == 12:
        return _little(content[18:20]) * _little(content[20:22])
    return _little(content[18:22]) * abs(int.from_bytes(content[22:26], "little", signed=True))


def _of_jpeg(content: bytes) -> int:
    jpeg = walk_jpeg(content)
    return jpeg.pixels + jpeg.pixels * jpeg.scans // _SCANS


def _of_webp(content: bytes) -> int:
    """RFC 9649: of an extended file the canvas, of the others their one picture."""
    kind = content[12:16]
    if kind == b"VP8X":
        return (1 + _little(content[24:27])) * (1 + _little(content[27:30]))
    if kind == b"VP8L":
        bits = _little(content[21:25])
        return (1 + (bits & 0x3FFF)) * (1 + (bits >> 14 & 0x3FFF))
    return (_little(content[26:28]) & 0x3FFF) * (_little(content[28:30]) & 0x3FFF)


def _of_avif(content: bytes) -> int:
    """The largest of all pictures in it: which of them is shown, only a decoder knows."""
    found = _AVIF_SIZE.finditer(content, 0, _SEARCHED_BYTES)
    return max((_big(size[1]) * _big(size[2]) for size in found), default=_UNKNOWN)


def _big(number: bytes) -> int:
    return int.from_bytes(number)


def _little(number: bytes) -> int:
    return int.from_bytes(number, "little")


_COSTS: Mapping[bytes, Callable[[bytes], int]] = {
    b"\x89PNG\r\n\x1a\n": _of_png,
    b"GIF8": _of_gif,
    b"BM": _of_bmp,
    b"\xff\xd8": _of_jpeg,
    b"RIFF": _of_webp,
}
