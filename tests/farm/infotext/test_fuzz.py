"""Images of all tools, broken in thousands of ways: each is read as what it is, or refused, and never in between.

FARM_FUZZ_EXAMPLES says how many ways, FARM_FUZZ_SEED which; `make fuzz` sets both.
"""

import json
import os
import random
import re
import struct
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from farm.errors import InvalidRequest
from farm.infotext import Infotext, as_exif, as_short_comment, as_user_comment, read_file
from farm.intake.request import parse_request
from tests.foreign import CIVITAI, FOOOCUS, INVOKE, SWARM, TOOLS, a_comment, a_png, comfy

EXAMPLES = 15 * int(os.environ.get("FARM_FUZZ_EXAMPLES", "10"))
SEED = int(os.environ.get("FARM_FUZZ_SEED", "1"))
MOST_SECONDS = 2.0

WEBUI = (
    "a red circle, caf\u00e9 \u706f\nin two lines\nNegative prompt: blurry\nSteps: 8, Sampler: Euler a, CFG scale"
    ': 5, Seed: 42, Size: 128x192, Model hash: 755e23487b, Model: "demo, x", Denoising strength: 0.7, '
    'Lora hashes: "ink: 0123456789ab", Hashes: {"lora:ink": "0123456789"}, Version: v1.10.1'
)
TEMPLATES = f"{WEBUI}\nTemplate: a {{red|blue}} circle\nNegative Template: blurry"
SDNEXT = WEBUI.replace("Version: v1.10.1", "App: SD.Next, Operations: txt2img, Parser: A1111")

# What no prompt of these images can hold: then something else was taken for one.
NO_PROMPT = re.compile(
    r"Steps: ?\d|Sampler: |CFG scale: |(?:sui_image_params|class_type|inputs|base_model|seed)\W{1,6}:"
)
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")

Carrier = Callable[[Path, str], Path]


def behind_the_pixels(folder: Path, text: str) -> Path:
    whole = a_png(folder).read_bytes()
    place = whole.index(b"IEND") - 4
    path = folder / "image.png"
    path.write_bytes(whole[:place] + chunk(b"iTXt", b"parameters\0\0\0\0\0" + text.encode()) + whole[place:])
    return path


def packed(folder: Path, text: str) -> Path:
    chunks = PngInfo()
    chunks.add_itxt("parameters", text, zip=True)
    path = folder / "image.png"
    Image.new("RGB", (16, 16)).save(path, pnginfo=chunks)
    return path


def commented(comment: Callable[[str], bytes], suffix: str = ".jpg") -> Carrier:
    def carrier(folder: Path, text: str) -> Path:
        path = folder / f"image{suffix}"
        Image.new("RGB", (16, 16)).save(path, exif=as_exif(comment(text), 16, 16))
        return path

    return carrier


def in_jpeg(folder: Path, text: str) -> Path:
    path = folder / "image.jpg"
    Image.new("RGB", (16, 16)).save(path, comment=text.encode(errors="replace")[:60_000])
    return path


def beside(folder: Path, text: str) -> Path:
    path = folder / "image.txt"
    path.write_text(text, encoding="utf-8", errors="replace")
    return path


CARRIERS: tuple[Carrier, ...] = (
    behind_the_pixels,
    packed,
    in_jpeg,
    beside,
    commented(lambda text: b"UNICODE\0" + text.encode("utf-16-le", errors="replace")),
    commented(lambda text: b"UNICODE\0" + text.encode(errors="replace")),
    commented(as_short_comment, ".webp"),
    commented(as_user_comment, ".avif"),
)
TEXTS = (
    WEBUI,
    TEMPLATES,
    SDNEXT,
    json.dumps({"sui_image_params": SWARM}, indent=2),
    json.dumps(FOOOCUS),
    json.dumps(comfy()),
    json.dumps(INVOKE),
    json.dumps({"extraMetadata": json.dumps(CIVITAI)}),
)
HOSTILE = (
    *(
        "NaN",
        "Infinity",
        "1e999",
        "-1",
        "0",
        "null",
        "true",
        '""',
        '"\\ud800"',
        '"\\u001b[2J"',
        '"a\\u0000b"',
        "{}",
    ),
    *(
        "[]",
        '[["k", 0]]',
        '["k", 0]',
        "[" * 400 + "]" * 400,
        "9" * 5_000,
        '"' + "x" * 3_000 + '"',
        '{"a": {"b": 1}}',
    ),
)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def flipped(content: bytes, chance: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(chance.randint(1, 8)):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def cut(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content))]


def moved(content: bytes, chance: random.Random) -> bytes:
    """A part of it left out, or doubled, or elsewhere."""
    first, second = sorted(chance.randrange(len(content) + 1) for _ in range(2))
    part, rest = content[first:second], content[:first] + content[second:]
    place = chance.randrange(len(rest) + 1)
    return chance.choice((rest, content[:second] + part + content[second:], rest[:place] + part + rest[place:]))


def measured(content: bytes, chance: random.Random) -> bytes:
    """Four bytes replaced by a length that is none."""
    place = chance.randrange(max(1, len(content) - 4))
    length = chance.choice((0, 1, 2**31 - 1, 2**31, 2**32 - 1, len(content)))
    return content[:place] + struct.pack(chance.choice("<>") + "I", length) + content[place + 4 :]


def rechunked(content: bytes, chance: random.Random) -> bytes:
    """The chunks of a PNG in another order, some twice, some not at all, some changed; all checksums true."""
    if not content.startswith(b"\x89PNG"):
        return flipped(content, chance)
    place, chunks = 8, []
    while place + 8 <= len(content):
        length, kind = struct.unpack(">I4s", content[place : place + 8])
        chunks.append((kind, content[place + 8 : place + 8 + length]))
        place += 12 + length
    first, *others = chunks
    others += chance.choices(others, k=chance.randrange(3))
    chance.shuffle(others)
    others = others[chance.randrange(2) :]
    chosen = chance.randrange(len(others))
    if others[chosen][1]:
        others[chosen] = (others[chosen][0], flipped(others[chosen][1], chance))
    return content[:8] + b"".join(chunk(*each) for each in (first, *others))


def reworded(text: str, chance: random.Random) -> str:
    """Another text: with hostile values, without line breaks, in another order, with a letter changed."""
    lines = text.split("\n")
    place, end = sorted(chance.randrange(len(text) + 1) for _ in range(2))
    value = re.compile(r'(?<=: )(?:"[^"]*"|[\d.]+|\[[^\]]*\]|true|false|null)')
    values = list(value.finditer(text)) or [re.compile("").match(text)]
    chosen: Any = chance.choice(values)
    return chance.choice(
        (
            text[: chosen.start()] + chance.choice(HOSTILE) + text[chosen.end() :],
            text[: chosen.start()] + chance.choice(HOSTILE) + text[chosen.end() :],
            text.replace("\n", chance.choice((" ", "\r", "\r\n", "\n\n", "\u2028", ""))),
            "\n".join(chance.sample(lines, len(lines))),
            "\n".join((*lines, *chance.sample(lines, 1))),
            text[:place] + text[end:],
            text[:place] + chance.choice('{}[]",:\\\n\0\u200b\u202e\x1b') + text[place:],
            text[:place] + chr(chance.choice((0, 7, 0x41, 0xE9, 0x1F98A, 0xFFFE))) + text[place + 1 :],
            text.encode().decode("latin-1"),
            json.dumps(text),
            text.replace('"', "'"),
            text.replace('"', "&quot;"),
            f"\ufeff{text}",
            text * chance.choice((2, 40)),
        )
    )


BYTES = (flipped, cut, moved, measured, rechunked)


def check(path: Path) -> str:
    """Read a file as the farm does; return what came of it."""
    started = time.process_time()
    try:
        read = read_file(path)
    except InvalidRequest as error:
        refusal = str(error)
    else:
        refusal = None
        check_read(read)
    finally:
        assert time.process_time() - started < MOST_SECONDS
    assert refusal is None or (refusal.startswith("image.") and len(refusal) < 3_000)
    return refusal or "read"


def check_read(read: Infotext) -> None:
    [prompt] = read.fields["prompts"]
    for text in (prompt, read.fields["negative_prompt"]):
        assert not NO_PROMPT.search(text), text
    for warning in read.warnings:
        assert not CONTROL.search(warning), warning
        assert len(warning) < 2_000
    with suppress(InvalidRequest):
        parse_request(dict(read.fields))


def fuzzed(name: str, whole: Path, mutate: Callable[[random.Random], Path]) -> None:
    """A carrier is read, and each of its mutations read or refused."""
    assert check(whole) == "read"
    for number in range(EXAMPLES):
        chance = random.Random(f"{SEED} {name} {number}")
        path = mutate(chance)
        try:
            check(path)
        except Exception as error:
            error.add_note(f"{name}, number {number} of seed {SEED}: {path.read_bytes()[:2_000]!r}")
            raise


@pytest.mark.parametrize("tool", TOOLS)
def test_an_image_of_a_tool_that_is_broken_is_read_or_refused(tmp_path: Path, tool: str) -> None:
    whole = TOOLS[tool](tmp_path)
    content = whole.read_bytes()

    def mutate(chance: random.Random) -> Path:
        whole.write_bytes(chance.choice(BYTES)(content, chance))
        return whole

    fuzzed(tool, whole, mutate)


@pytest.mark.parametrize("carrier", range(len(CARRIERS)))
def test_a_carrier_that_is_broken_is_read_or_refused(tmp_path: Path, carrier: int) -> None:
    whole = CARRIERS[carrier](tmp_path, WEBUI)
    content = whole.read_bytes()

    def mutate(chance: random.Random) -> Path:
        whole.write_bytes(chance.choice(BYTES)(content, chance))
        return whole

    fuzzed(f"carrier {carrier}", whole, mutate)


@pytest.mark.parametrize("text", range(len(TEXTS)))
def test_a_text_that_is_broken_is_read_or_refused(tmp_path: Path, text: int) -> None:
    def mutate(chance: random.Random) -> Path:
        return beside(tmp_path, reworded(TEXTS[text], chance))

    fuzzed(f"text {text}", beside(tmp_path, TEXTS[text]), mutate)


@pytest.mark.parametrize("text", range(len(TEXTS)))
def test_a_broken_text_in_another_carrier_is_read_or_refused(tmp_path: Path, text: int) -> None:
    def mutate(chance: random.Random) -> Path:
        broken = reworded(TEXTS[text], chance).encode(errors="replace").decode()
        return chance.choice(CARRIERS)(tmp_path, broken[:20_000])

    fuzzed(f"carried text {text}", a_comment(tmp_path, ".webp", TEXTS[text]), mutate)
