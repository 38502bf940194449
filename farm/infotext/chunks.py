"""The texts of a PNG file: its chunks tEXt, zTXt, iTXt and eXIf, before and after the pixels.

Pillow shows the texts after the pixels only if it decodes these, and refuses files of too many pixels.
Formats: PNG, third edition, 5.3 (chunks) and 11.3.3 (texts).
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

SIGNATURE = b"\x89PNG\r\n\x1a\n"
LARGEST_TEXT_BYTES = 4 * 2**20

_TEXTS = (b"tEXt", b"zTXt", b"iTXt", b"eXIf")
_MOST_CHUNKS = 200_000
_MOST_TEXTS = 1_000
_LARGEST_TEXTS_BYTES = 16 * 2**20
_HEADER_BYTES = 13


class Damaged(ValueError):
    """A file is broken; the message goes on after the file's name."""


@dataclass
class Chunks:
    """Texts by their keywords, repeated ones too, and the EXIF block, empty where there is none."""

    texts: dict[str, list[str]] = field(default_factory=dict)
    exif: bytes = b""


def read_chunks(file: BinaryIO) -> Chunks:
    """The texts of an open PNG file. Raises Damaged with the cause."""
    found = Chunks()
    total = 0
    for kind, body in _read_bodies(file):
        total += len(body)
        if kind == b"eXIf":
            found.exif = found.exif or body
            continue
        keyword, text = _decode_text(kind, body, _LARGEST_TEXTS_BYTES - total)
        total += len(text)
        found.texts.setdefault(keyword, []).append(text)
    return found


def _read_bodies(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """The kind and the body of each chunk that holds a text; others are skipped unread."""
    if file.read(8) != SIGNATURE or file.read(8) != struct.pack(">I4s", _HEADER_BYTES, b"IHDR"):
        raise Damaged("is not a PNG, JPEG, WebP or AVIF image that can be read")
    file.seek(_HEADER_BYTES + 4, 1)
    texts = total = 0
    for _ in range(_MOST_CHUNKS):
        header = file.read(8)
        if len(header) < 8:
            return
        length, kind = struct.unpack(">I4s", header)
        if kind == b"IEND":
            return
        if kind not in _TEXTS:
            file.seek(length + 4, 1)
            continue
        texts, total = texts + 1, total + length
        if length > LARGEST_TEXT_BYTES or total > _LARGEST_TEXTS_BYTES or texts > _MOST_TEXTS:
            raise Damaged(_describe_limits())
        yield kind, _verify_chunk(kind, file.read(length), file.read(4), length)
    raise Damaged(f"is a PNG file of more than {_MOST_CHUNKS:,} chunks")


def _verify_chunk(kind: bytes, body: bytes, checksum: bytes, length: int) -> bytes:
    if len(body) < length or len(checksum) < 4:
        raise Damaged("is cut short within a text")
    if zlib.crc32(kind + body) != int.from_bytes(checksum):
        raise Damaged(f"is damaged: the checksum of a chunk {kind.decode()} is wrong")
    return body


def _describe_limits() -> str:
    return f"holds texts of more than {LARGEST_TEXT_BYTES // 2**20} MiB, or more than {_MOST_TEXTS:,} of them"


def _decode_text(kind: bytes, body: bytes, most: int) -> tuple[str, str]:
    keyword, _, rest = body.partition(b"\0")
    name = keyword.decode("latin-1")
    if kind == b"tEXt":
        return name, _decode_plain(rest)
    if kind == b"zTXt":
        return name, _decode_plain(_inflate(rest[1:], most))
    is_compressed, rest = rest[:1] == b"\1", rest[2:]
    rest = rest.partition(b"\0")[2].partition(b"\0")[2]
    try:
        return name, (_inflate(rest, most) if is_compressed else rest).decode()
    except UnicodeDecodeError:
        raise Damaged(f"is damaged: its text {name[:79]!r} is not UTF-8") from None


def _decode_plain(text: bytes) -> str:
    """Latin-1 by the standard; but programs write UTF-8 too, and Latin-1 is hardly ever valid UTF-8 by chance."""
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text.decode("latin-1")


def _inflate(body: bytes, most: int) -> bytes:
    inflater = zlib.decompressobj()
    try:
        text = inflater.decompress(body, max(1, min(most, LARGEST_TEXT_BYTES)))
    except zlib.error:
        raise Damaged("is damaged: a compressed text does not unpack") from None
    if inflater.unconsumed_tail:
        raise Damaged(_describe_limits())
    if not inflater.eof:
        raise Damaged("is damaged: a compressed text is cut short")
    return text
