"""User comments: how the bytes of one are read, and where it stands in an EXIF block and in XMP.

The first 8 bytes of one in EXIF name its encoding (EXIF 2.32, 4.6.6), which many programs get wrong: a comment
marked UNICODE may be UTF-8, or UTF-16 in the byte order that the block does not have.
"""

import struct
import unicodedata
from collections.abc import Iterator
from xml.parsers import expat

from PIL import Image
from PIL.ExifTags import IFD, Base

from farm.infotext.chunks import LARGEST_TEXT_BYTES, Damaged

_ASCII = b"ASCII\0\0\0"
_UNICODE = b"UNICODE\0"
_JIS = b"JIS\0\0\0\0\0"
_UNDEFINED = bytes(8)
# Marks of settings and of JSON.
_SIGNS = (b"Steps:", b'":', b'" :')
_EXIF_NAMESPACE = "http://ns.adobe.com/exif/1.0/"
_COMMENT = f"{_EXIF_NAMESPACE} UserComment"

# What Pillow raises on blocks that are broken, as far as fuzzing found.
BROKEN = (OSError, ValueError, SyntaxError, RuntimeError, TypeError, LookupError, ArithmeticError, struct.error)


def read_user_comment(comment: bytes) -> str:
    """The text of a comment. Raises Damaged where it is in no encoding that is known."""
    code, body = comment[:8], comment[8:]
    if code == _JIS:
        return _decode_first(body, ("iso2022_jp", "shift_jis", "euc_jp"))
    if code not in (_UNICODE, _ASCII, _UNDEFINED):
        code, body = b"", comment
    plain = body.rstrip(b"\0")
    # UTF-16 of a text with Latin letters or digits has zero bytes, and UTF-8 has none. Without these the bytes of
    # UTF-16 may look like letters: the Chinese word for lamp is the bytes `po`.
    is_marked_right = code == _UNICODE and not any(sign in plain for sign in _SIGNS)
    if b"\0" not in plain and _is_utf8(plain) and not is_marked_right:
        return plain.decode().removeprefix("\ufeff")
    if code == _UNICODE or b"\0" in plain:
        return _decode_utf16(body)
    raise Damaged("holds a comment that is neither UTF-8 nor UTF-16")


def _is_utf8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _decode_first(body: bytes, encodings: tuple[str, ...]) -> str:
    for encoding in encodings:
        try:
            return body.rstrip(b"\0").decode(encoding)
        except UnicodeDecodeError:
            continue
    raise Damaged(f"holds a comment in none of its encodings, {', '.join(encodings)}")


def _decode_utf16(body: bytes) -> str:
    """Decode in the more plausible byte order: by its mark, else by Latin letters, else by assigned characters."""
    # A reader that treats the comment as a string drops its last zero byte.
    body += bytes(len(body) % 2)
    marked = {b"\xfe\xff": "utf-16-be", b"\xff\xfe": "utf-16-le"}.get(body[:2])
    found = []
    for encoding in (marked,) if marked else ("utf-16-be", "utf-16-le"):
        try:
            found.append(body.decode(encoding).rstrip("\0").removeprefix("\ufeff"))
        except UnicodeDecodeError:
            continue
    if not found:
        raise Damaged("holds a comment that is damaged: it is not UTF-16")
    return max(found, key=_score_text)


def _score_text(text: str) -> tuple[int, int]:
    text = text[:10_000]
    latin = sum("\t" <= character <= "~" for character in text)
    unknown = sum(unicodedata.category(character) in ("Cn", "Co", "Cc") for character in text)
    return latin, -unknown


def exif_texts(exif: Image.Exif) -> Iterator[tuple[str, str]]:
    """The texts of an EXIF block that may say what made the image, each with the name of its field.

    Fooocus writes the comment into the first directory; ComfyUI and older SwarmUI write into what is there for
    the make and model of a camera.
    """
    for directory in (_directory(exif), exif):
        comment = _read_bytes(directory.get(Base.UserComment))
        if comment.strip(b"\0 "):
            yield "EXIF UserComment", read_user_comment(comment)
    for tag in (Base.Model, Base.Make, Base.ImageDescription):
        text = _read_bytes(exif.get(tag)).rstrip(b"\0")
        if text and _is_utf8(text):
            yield f"EXIF {tag.name}", text.decode()


def _directory(exif: Image.Exif) -> Image.Exif | dict[int, object]:
    found: dict[int, object] = exif.get_ifd(IFD.Exif)
    return found


def _read_bytes(value: object) -> bytes:
    """The bytes of a value, which Pillow may have decoded as Latin-1."""
    if isinstance(value, str):
        value = value.encode("latin-1", errors="ignore")
    if not isinstance(value, bytes):
        return b""
    if len(value) > LARGEST_TEXT_BYTES:
        raise Damaged(f"holds a comment of more than {LARGEST_TEXT_BYTES // 2**20} MiB")
    return value


def xmp_comment(packet: bytes) -> str:
    """The user comment in an XMP packet, where Draw Things writes its settings; empty where there is none.

    It is an attribute, or an element with the text in it, or in the first item of a list in it.
    """
    found: list[str] = []
    inside: list[str] = []

    def start_element(name: str, attributes: dict[str, str]) -> None:
        if inside or name == _COMMENT:
            inside.append(name)
        found.extend(value for key, value in attributes.items() if key == _COMMENT)

    def end_element(_name: str) -> None:
        if inside:
            inside.pop()

    def read_characters(text: str) -> None:
        if inside:
            found.append(text)

    def refuse_doctype(*_declaration: object) -> None:
        raise Damaged("holds XMP that declares a document type, which is not read")

    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler, parser.EndElementHandler = start_element, end_element
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = read_characters, refuse_doctype
    try:
        parser.Parse(packet.strip(b"\0 \t\r\n"), True)
    except expat.ExpatError as error:
        raise Damaged(f"holds XMP that is damaged: {error}") from None
    return "".join(found).strip()
