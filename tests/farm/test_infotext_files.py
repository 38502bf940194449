"""Parameters texts in files that other programs wrote."""

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
def test_an_image_without_a_text_has_none(tmp_path: Path, suffix: str) -> None:
    path = saved(tmp_path / f"x{suffix}")
    assert read_image(path) is None
    with pytest.raises(InvalidRequest, match=f"x{suffix}: holds no parameters text"):
        read_file(path)


def test_a_file_says_what_it_asks_for(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.jpg", exif=as_exif(as_user_comment(TEXT), 16, 16))
    assert read_file(path).fields["seed"] == 7


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a"])
def test_what_is_no_image_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(content)
    with pytest.raises(InvalidRequest, match=r"x\.png: is no PNG, JPEG, WebP or AVIF image"):
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
