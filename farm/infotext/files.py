"""Texts in image files and in the text files next to them: where each format keeps them.

Pixels are never decoded, so a text hidden in them (stealth PNG info) is not found.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from farm.errors import InvalidRequest
from farm.infotext.chunks import SIGNATURE, Chunks, Damaged, read_chunks
from farm.infotext.comments import BROKEN, exif_texts, xmp_comment
from farm.infotext.recognise import PARAMETERS, read_texts
from farm.infotext.result import Infotext, NotRead

_FORMATS = ("JPEG", "WEBP", "AVIF")
_LARGEST_FILE_BYTES = 512 * 2**20
_LARGEST_SIDECAR_BYTES = 2**20
_SIDECARS = (".txt", ".json")
_NO_IMAGE = "is not a PNG, JPEG, WebP or AVIF image that can be read"
_XMP = "XML:com.adobe.xmp"
_RAW_EXIF = "Raw profile type exif"

Texts = dict[str, str]
"""Texts by the name of their field: the keyword of a PNG chunk, or `EXIF UserComment` and its like."""


def read_file(path: Path) -> Infotext:
    """What the text in an image file asks for, or in the text file that a tool wrote next to one.

    Raises InvalidRequest where there is none, or none that is known, or no image.
    """
    with _naming_file(path):
        return read_texts(_read_texts(path))


def read_image(path: Path) -> str | None:
    """The parameters text of a PNG, JPEG, WebP or AVIF file; None where it holds none. Its pixels are not decoded.

    Raises InvalidRequest where the file is no such image.
    """
    with _naming_file(path):
        texts = _read_texts(path)
    return texts.get(PARAMETERS) or texts.get("EXIF UserComment")


@contextmanager
def _naming_file(path: Path) -> Iterator[None]:
    """Turn errors in the block into InvalidRequest, which names the file."""
    try:
        yield
    except (Damaged, NotRead) as error:
        message = str(error)
    except OSError as error:
        message = f"cannot be read: {error.strerror or error}"
    else:
        return
    raise InvalidRequest.at(path.name, message)


def _read_texts(path: Path) -> Texts:
    size = path.stat().st_size
    if not path.is_file():
        raise Damaged("is not a regular file but a folder, a pipe or a device")
    if size > _LARGEST_FILE_BYTES:
        raise Damaged(f"is larger than {_LARGEST_FILE_BYTES // 2**20} MiB")
    with path.open("rb") as file:
        is_png = file.read(len(SIGNATURE)) == SIGNATURE
        file.seek(0)
        if is_png:
            return _find_png_texts(read_chunks(file))
    if path.suffix.lower() in _SIDECARS:
        return _read_sidecar(path, size)
    return _read_image_texts(path)


def _read_sidecar(path: Path, size: int) -> Texts:
    """A text alone, as the WebUI writes it next to an image if its settings ask for that."""
    if size > _LARGEST_SIDECAR_BYTES:
        raise Damaged(f"is a text file larger than {_LARGEST_SIDECAR_BYTES // 2**20} MiB")
    try:
        return {PARAMETERS: path.read_bytes().decode("utf-8-sig")}
    except UnicodeDecodeError:
        raise Damaged("is a text file that is not UTF-8") from None


def _find_png_texts(chunks: Chunks) -> Texts:
    for name, found in chunks.texts.items():
        if name == PARAMETERS and len(set(found)) > 1:
            raise Damaged(f"holds {len(set(found))} different texts {name!r}")
    texts = {name: found[-1] for name, found in chunks.texts.items() if found[-1].strip()}
    if PARAMETERS in texts:
        return texts
    block = chunks.exif or _unpack_profile(texts.pop(_RAW_EXIF, ""))
    return texts | _read_blocks(block, texts.pop(_XMP, "").encode())


def _unpack_profile(profile: str) -> bytes:
    """An EXIF block as ImageMagick writes it into PNG: lines of its name and length, then hexadecimal digits."""
    digits = "".join(profile.split("\n")[3:])
    try:
        return bytes.fromhex(digits)
    except ValueError:
        raise Damaged("is damaged: its EXIF block is not hexadecimal text") from None


def _read_image_texts(path: Path) -> Texts:
    try:
        with warnings.catch_warnings():
            # Pillow warns that decoding might be expensive.
            warnings.simplefilter("ignore")
            with Image.open(path, formats=_FORMATS) as image:
                comments = [body for marker, body in getattr(image, "applist", ()) if marker == "COM"]
                blocks = image.info.get("exif", b""), image.info.get("xmp", b"")
    except Image.DecompressionBombError:
        raise Damaged(f"has more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels") from None
    except BROKEN:
        raise Damaged(_NO_IMAGE) from None
    texts = _read_blocks(*blocks)
    if comments:
        texts["JPEG comment"] = b"\n".join(comments).decode(errors="replace").strip("\0")
    return texts


def _read_blocks(exif: bytes, xmp: bytes) -> Texts:
    """The texts of an EXIF block and of XMP. Of several in one place the first counts."""
    try:
        with warnings.catch_warnings(record=True) as skipped:
            warnings.simplefilter("always")
            texts = _read_exif(exif) if exif else {}
        if skipped and not texts:
            raise Damaged(f"is damaged: its EXIF cannot be read: {skipped[0].message}".strip())
        if xmp and (comment := xmp_comment(xmp)):
            texts["XMP UserComment"] = comment
    except Damaged:
        raise
    except BROKEN:
        raise Damaged("is damaged: its EXIF or XMP cannot be read") from None
    return texts


def _read_exif(block: bytes) -> Texts:
    exif, texts = Image.Exif(), Texts()
    exif.load(block if block.startswith(b"Exif\0\0") else b"Exif\0\0" + block)
    for place, text in exif_texts(exif):
        texts.setdefault(place, text)
    return texts
