"""A file as text: its encoding recognised, its line ends made alike, and what is no text refused by name."""

import codecs
import os
import re
import stat
import sys
from pathlib import Path

from farm.errors import InvalidRequest

MOST_BYTES = 32 * 2**20
"""What a prompt file may have: no job takes more."""

STANDARD_INPUT = Path("-")

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    # Before those of UTF-16, which begin alike.
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_SIGNATURES = (
    (b"PK\x03\x04", "a ZIP archive, as spreadsheets and documents are. Save it as CSV or as plain text"),
    (b"\xd0\xcf\x11\xe0", "a document of an older Office. Save it as CSV or as plain text"),
    (b"%PDF", "a PDF document. Save it as plain text"),
    (b"{\\rtf", "an RTF document. Save it as plain text"),
    (b"\x89PNG", "a PNG picture, not a file of prompts"),
    (b"\xff\xd8\xff", "a JPEG picture, not a file of prompts"),
    (b"GIF8", "a GIF picture, not a file of prompts"),
    (b"RIFF", "a WebP picture or a recording, not a file of prompts"),
    (b"\x1f\x8b", "compressed by gzip. Unpack it first"),
    (b"SQLite format 3", "a database, not a file of prompts"),
)
# What no editor writes into text; tab, line breaks and the form feed are left out.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f]")

# Files that were joined have the second's byte order mark in the midst.
_INNER_MARK = re.compile(r"^\ufeff+", re.MULTILINE)


def refuse(path: Path, message: str, line: int | None = None) -> InvalidRequest:
    """The refusal of a file, or of a line of it."""
    return InvalidRequest.at(place_of(path, line), message)


def place_of(path: Path, line: int | None = None) -> str:
    name = "standard input" if path == STANDARD_INPUT else str(path)
    return name if line is None else f"{name}, line {line}"


def read_text(path: Path, most_bytes: int = MOST_BYTES, *, is_regular: bool = False) -> str:
    """The text of a file with its line ends as \\n; `-` is what stands in standard input.

    UTF-8, and UTF-16 and UTF-32 that begin with a byte order mark. `is_regular` refuses what is no file on a disk:
    a pipe would hang, and a device has no end. Raises InvalidRequest that names the file and the line.
    """
    try:
        content = _content(path, most_bytes + 1, is_regular=is_regular)
    except OSError as error:
        raise refuse(path, error.strerror or "cannot be read") from None
    if len(content) > most_bytes:
        raise refuse(path, f"is larger than {most_bytes // 2**20} MiB")
    text = _decoded(path, content).replace("\r\n", "\n").replace("\r", "\n")
    if "\ufeff" in text:
        text = _INNER_MARK.sub("", text)
    if control := _CONTROL.search(text):
        line = text.count("\n", 0, control.start()) + 1
        what = "NUL" if control[0] == "\0" else f"control (U+{ord(control[0]):04X})"
        raise refuse(path, f"must not contain a {what} character", line)
    return text


def _content(path: Path, most: int, *, is_regular: bool) -> bytes:
    if path == STANDARD_INPUT:
        return sys.stdin.buffer.read(most)
    # A pipe without a writer would wait here for ever.
    waiting = os.O_NONBLOCK if is_regular else 0
    with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | waiting), "rb") as file:
        if is_regular and not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise refuse(path, "is no regular file")
        return file.read(most)


def _decoded(path: Path, content: bytes) -> str:
    for signature, what in _SIGNATURES:
        if content.startswith(signature):
            raise refuse(path, f"is {what}")
    mark, encoding = next(((mark, name) for mark, name in _MARKS if content.startswith(mark)), (b"", "utf-8"))
    try:
        return content[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, len(mark) + error.start) + 1
        if b"\0" in content[:1000] and not mark:
            raise refuse(path, "is no text") from None
        raise refuse(path, f"is not {encoding.upper()} text; save it as UTF-8", line) from None
