"""Parameters texts in files that other programs wrote."""

import os
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.ExifTags import IFD, Base
from PIL.PngImagePlugin import PngInfo
from PIL.TiffImagePlugin import ImageFileDirectory_v2
from PIL.TiffTags import ASCII, BYTE, LONG, UNDEFINED

from farm.errors import InvalidRequest
from farm.infotext import as_exif, as_user_comment, read_file, read_image

TEXT = "ein Fuchs, \u706f\u53f0 \U0001f98a\nSteps: 20, Sampler: Euler, Seed: 7"


def saved(path: Path, **options: Any) -> Path:
    Image.new("RGB", (16, 16)).save(path, **options)
    return path


def test_a_png_keeps_its_text_in_a_chunk(tmp_path: Path) -> None:
    chunks = PngInfo()
    chunks.add_text("parameters", TEXT, zip=True)
    assert read_image(saved(tmp_path / "x.png", pnginfo=chunks)) == TEXT


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".avif", ".png"])
@pytest.mark.parametrize(
    "comment",
    [
        as_user_comment(TEXT),
        b"UNICODE\0" + TEXT.encode("utf-16-le"),
        b"ASCII\0\0\0" + TEXT.encode(),
        bytes(8) + TEXT.encode() + b"\0",
        TEXT.encode(),
    ],
)
def test_a_user_comment_is_read_in_whatever_encoding_it_has(tmp_path: Path, suffix: str, comment: bytes) -> None:
    assert read_image(saved(tmp_path / f"x{suffix}", exif=as_exif(comment, 16, 16))) == TEXT


def exif_of(header: bytes, kind: int, comment: bytes) -> bytes:
    """An EXIF block as other programs write it: in their order of bytes, with the comment in their type."""
    order = "big" if header.startswith(b"MM") else "little"
    first, second = ImageFileDirectory_v2(header), ImageFileDirectory_v2(header)
    second.tagtype[Base.UserComment] = UNDEFINED
    second[Base.UserComment] = comment
    first.tagtype[IFD.Exif] = LONG
    first[IFD.Exif] = 26
    typed, wanted = (Base.UserComment.to_bytes(2, order) + each.to_bytes(2, order) for each in (UNDEFINED, kind))
    return b"Exif\0\0" + header + first.tobytes(8) + second.tobytes(26).replace(typed, wanted)


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".avif", ".png"])
@pytest.mark.parametrize("header", [b"MM\0*\0\0\0\x08", b"II*\0\x08\0\0\0"], ids=["MM", "II"])
@pytest.mark.parametrize("kind", [BYTE, ASCII, UNDEFINED])
@pytest.mark.parametrize("encoding", ["utf-16-be", "utf-16-le"])
def test_a_user_comment_is_read_in_whatever_type_and_order_of_bytes_it_has(
    tmp_path: Path, suffix: str, header: bytes, kind: int, encoding: str
) -> None:
    exif = exif_of(header, kind, b"UNICODE\0" + TEXT.encode(encoding))
    assert read_image(saved(tmp_path / f"x{suffix}", exif=exif)) == TEXT


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".avif", ".png"])
def test_a_user_comment_of_the_release_before_is_read(tmp_path: Path, suffix: str) -> None:
    exif = Image.Exif()
    exif.get_ifd(IFD.Exif)[Base.UserComment] = as_user_comment(TEXT)
    assert read_image(saved(tmp_path / f"x{suffix}", exif=exif.tobytes())) == TEXT


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".avif", ".png"])
def test_an_image_without_a_parameters_text_is_refused(tmp_path: Path, suffix: str) -> None:
    path = saved(tmp_path / f"x{suffix}")
    assert read_image(path) is None
    with pytest.raises(InvalidRequest, match=f"x{suffix}: holds no parameters text"):
        read_file(path)


def test_the_fields_of_a_request_are_read_from_a_file(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.jpg", exif=as_exif(as_user_comment(TEXT), 16, 16))
    assert read_file(path).fields["seed"] == 7


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a"])
def test_a_file_that_is_no_image_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(content)
    with pytest.raises(InvalidRequest, match=r"x\.png: is not a PNG, JPEG, WebP or AVIF image"):
        read_file(path)


def test_an_absent_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"absent\.png: cannot be read: No such file"):
        read_image(tmp_path / "absent.png")


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".avif", ".png"])
def test_a_file_that_was_cut_short_breaks_nothing(tmp_path: Path, suffix: str) -> None:
    whole = saved(tmp_path / f"x{suffix}", exif=as_exif(as_user_comment(TEXT), 16, 16)).read_bytes()
    for length in range(0, len(whole), 7):
        path = tmp_path / "cut"
        path.write_bytes(whole[:length])
        with suppress(InvalidRequest):
            read_image(path)


def with_chunks(path: Path, *chunks: tuple[bytes, bytes], behind: bool = False) -> Path:
    """A PNG with these chunks before its pixels or behind them."""
    whole = saved(path).read_bytes()
    added = b"".join(
        len(body).to_bytes(4) + kind + body + zlib.crc32(kind + body).to_bytes(4) for kind, body in chunks
    )
    place = whole.index(b"IEND") - 4 if behind else whole.index(b"IDAT") - 4
    path.write_bytes(whole[:place] + added + whole[place:])
    return path


CHUNKS = {
    "tEXt in UTF-8": (b"tEXt", b"parameters\0" + TEXT.encode()),
    "zTXt": (b"zTXt", b"parameters\0\0" + zlib.compress(TEXT.encode())),
    "iTXt": (b"iTXt", b"parameters\0\0\0en\0x\0" + TEXT.encode()),
    "iTXt, packed": (b"iTXt", b"parameters\0\1\0\0\0" + zlib.compress(TEXT.encode())),
    "eXIf": (b"eXIf", as_exif(as_user_comment(TEXT), 16, 16).removeprefix(b"Exif\0\0")),
}


@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("behind", [False, True], ids=["before", "behind"])
def test_a_text_in_a_png_is_found_before_and_behind_the_pixels(tmp_path: Path, chunk: str, behind: bool) -> None:
    assert read_image(with_chunks(tmp_path / "x.png", CHUNKS[chunk], behind=behind)) == TEXT


def test_a_text_in_latin_1_is_read(tmp_path: Path) -> None:
    text = "ein B\u00e4r\nSteps: 20, Sampler: Euler, Seed: 7"
    chunk = (b"tEXt", b"parameters\0" + text.encode("latin-1"))
    assert read_image(with_chunks(tmp_path / "x.png", chunk)) == text


JAPANESE = "\u8d64\u3044\u5186, \u6d77\nSteps: 20, Sampler: Euler, Seed: 7"


@pytest.mark.parametrize("header", [b"MM\0*\0\0\0\x08", b"II*\0\x08\0\0\0"], ids=["MM", "II"])
@pytest.mark.parametrize(
    "comment",
    [
        b"UNICODE\0" + JAPANESE.encode(),
        b"UNICODE\0" + JAPANESE.encode("utf-16-be"),
        b"UNICODE\0" + JAPANESE.encode("utf-16-le"),
        b"UNICODE\0\xff\xfe" + JAPANESE.encode("utf-16-le"),
        b"UNICODE\0\xfe\xff" + JAPANESE.encode("utf-16-be"),
        b"ASCII\0\0\0" + JAPANESE.encode(),
        b"JIS\0\0\0\0\0" + JAPANESE.encode("iso2022_jp"),
        b"JIS\0\0\0\0\0" + JAPANESE.encode("shift_jis"),
        bytes(8) + JAPANESE.encode("utf-16-le"),
    ],
    ids=["UTF-8", "BE", "LE", "marked LE", "marked BE", "ASCII", "JIS", "Shift JIS", "unmarked LE"],
)
def test_a_comment_is_read_whatever_it_is_marked_as(tmp_path: Path, header: bytes, comment: bytes) -> None:
    path = saved(tmp_path / "x.jpg", exif=exif_of(header, UNDEFINED, comment))
    assert read_image(path) == JAPANESE


@pytest.mark.parametrize(
    "comment", [b"UNICODE\0\xd8\xd8\xd8\xd8", b"ASCII\0\0\0\xff\xfe\xfd", b"JIS\0\0\0\0\0\xff\xff"]
)
def test_a_comment_in_no_encoding_is_refused(tmp_path: Path, comment: bytes) -> None:
    path = saved(tmp_path / "x.jpg", exif=exif_of(b"MM\0*\0\0\0\x08", UNDEFINED, comment))
    with pytest.raises(InvalidRequest, match=r"x\.jpg: holds a comment"):
        read_file(path)


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".avif", ".png"])
def test_a_comment_in_the_first_directory_is_found(tmp_path: Path, suffix: str) -> None:
    exif = Image.Exif()
    exif[Base.UserComment] = as_user_comment(TEXT)
    assert read_image(saved(tmp_path / f"x{suffix}", exif=exif)) == TEXT


PACKET = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<r:Description xmlns:e="http://ns.adobe.com/exif/1.0/"{}</r:Description></r:RDF></x:xmpmeta>'
)
INSIDE = "><e:UserComment><r:Alt><r:li>{}</r:li></r:Alt></e:UserComment>"


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".avif"])
def test_a_comment_in_xmp_is_found(tmp_path: Path, suffix: str) -> None:
    path = saved(tmp_path / f"x{suffix}", xmp=PACKET.format(INSIDE.format(TEXT)).encode())
    assert read_file(path).fields["seed"] == 7


def test_a_comment_in_xmp_may_be_an_attribute(tmp_path: Path) -> None:
    packet = PACKET.format(' e:UserComment="a fox&#10;Steps: 20, Sampler: Euler, Seed: 7">')
    assert read_file(saved(tmp_path / "x.jpg", xmp=packet.encode())).fields["prompts"] == ["a fox"]


@pytest.mark.parametrize(
    ("packet", "why"),
    [
        ("<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", "declares a document type"),
        ("<a><b></a>", "XMP that is damaged: mismatched tag"),
    ],
)
def test_xmp_that_is_hostile_or_damaged_is_refused(tmp_path: Path, packet: str, why: str) -> None:
    with pytest.raises(InvalidRequest, match=why):
        read_file(saved(tmp_path / "x.jpg", xmp=packet.encode()))


def test_a_comment_of_a_jpeg_file_is_found(tmp_path: Path) -> None:
    assert read_file(saved(tmp_path / "x.jpg", comment=TEXT.encode())).fields["seed"] == 7


@pytest.mark.parametrize("comment", ["CREATOR: gd-jpeg v1.0 (using IJG JPEG v62), quality = 90", "Screenshot"])
def test_a_comment_that_is_no_parameters_text_is_refused(tmp_path: Path, comment: str) -> None:
    paths = [
        saved(tmp_path / "x.jpg", comment=comment.encode()),
        saved(tmp_path / "y.jpg", exif=as_exif(as_user_comment(comment), 16, 16)),
    ]
    for path in paths:
        with pytest.raises(InvalidRequest, match="holds no parameters text of a tool that is known"):
            read_file(path)


def test_a_text_beside_an_image_is_read(tmp_path: Path) -> None:
    path = tmp_path / "00001-7.txt"
    path.write_text("\ufeff" + TEXT, encoding="utf-8")
    assert read_file(path).fields["seed"] == 7


def test_a_png_of_any_size_in_pixels_says_what_made_it(tmp_path: Path) -> None:
    path = with_chunks(tmp_path / "x.png", CHUNKS["iTXt"])
    header = b"IHDR" + (40_000).to_bytes(4) * 2 + b"\x08\x02\0\0\0"
    whole = path.read_bytes()
    path.write_bytes(whole[:12] + header + zlib.crc32(header).to_bytes(4) + whole[33:])
    assert read_image(path) == TEXT


def test_a_file_that_is_too_large_is_refused_for_that(tmp_path: Path) -> None:
    path = with_chunks(tmp_path / "x.png", CHUNKS["iTXt"])
    with path.open("ab") as file:
        file.truncate(512 * 2**20 + 1)
    with pytest.raises(InvalidRequest, match=r"x\.png: is larger than 512 MiB"):
        read_file(path)


def test_an_image_of_too_many_pixels_is_refused_for_that(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.jpg")
    whole = bytearray(path.read_bytes())
    start = whole.index(b"\xff\xc0") + 5
    whole[start : start + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(bytes(whole))
    with pytest.raises(InvalidRequest, match=r"x\.jpg: has more than \d+,\d+,\d+ pixels"):
        read_file(path)


@pytest.mark.parametrize(
    ("chunks", "why"),
    [
        ([(b"iTXt", b"parameters\0\1\0\0\0" + zlib.compress(b"a" * 2**23))], "holds texts of more than 4 MiB"),
        ([(b"tEXt", b"a\0b")] * 1_001, "or more than 1,000 of them"),
        ([(b"zTXt", b"parameters\0\0" + zlib.compress(b"a" * 999)[:-9])], "a compressed text is cut short"),
        ([(b"zTXt", b"parameters\0\0nothing")], "a compressed text does not unpack"),
        ([(b"iTXt", b"parameters\0\0\0\0\0\xff")], "its text 'parameters' is not UTF-8"),
        ([(b"tEXt", b"parameters\0a"), (b"tEXt", b"parameters\0b")], "holds 2 different texts 'parameters'"),
    ],
)
def test_texts_that_are_too_many_or_damaged_are_refused(
    tmp_path: Path, chunks: list[tuple[bytes, bytes]], why: str
) -> None:
    with pytest.raises(InvalidRequest, match=why):
        read_file(with_chunks(tmp_path / "x.png", *chunks))


def test_a_text_that_was_damaged_on_its_way_is_refused(tmp_path: Path) -> None:
    path = with_chunks(tmp_path / "x.png", CHUNKS["iTXt"])
    path.write_bytes(path.read_bytes().replace(b"Fuchs", b"Dachs"))
    with pytest.raises(InvalidRequest, match="the checksum of a chunk iTXt is wrong"):
        read_file(path)


def test_a_pipe_and_a_folder_are_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.png")
    for path in (tmp_path / "x.png", tmp_path):
        with pytest.raises(InvalidRequest, match="is not a regular file but a folder, a pipe or a device"):
            read_file(path)


def test_a_parameters_text_in_a_description_is_found(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[Base.ImageDescription] = "a fox\nSteps: 20, Sampler: Euler, Seed: 7"
    images = [
        saved(tmp_path / "x.jpg", exif=exif),
        with_chunks(tmp_path / "x.png", (b"tEXt", b"Description\0" + TEXT.encode())),
    ]
    assert [read_file(image).fields["seed"] for image in images] == [7, 7]
