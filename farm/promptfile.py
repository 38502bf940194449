"""Prompt files: JSON, JSON lines, CSV, or one prompt per line, read into the rows of a job request."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from farm.errors import FieldProblem, InvalidRequest
from farm.requests import PromptRow, problems_of

# What other programs call these fields.
_ALIASES: Mapping[str, str] = {
    "steps": "num_inference_steps",
    "guidance": "guidance_scale",
    "cfg": "guidance_scale",
    "cfg_scale": "guidance_scale",
    "denoising": "strength",
    "schedule": "schedule_type",
    "format": "image_format",
    "negative": "negative_prompt",
    "sampler_name": "sampler",
    "model": "checkpoint",
    "count": "images_per_prompt",
}

_HIRES = "hires."


@dataclass(frozen=True)
class Entry:
    """One entry of a file: where it began (`line 3`, counted from 1), and what stood there."""

    place: str
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class Unreadable:
    """An entry that does not follow the file's format, and why."""

    place: str
    message: str


def read_prompts(path: Path) -> list[PromptRow]:
    """Read the rows of a file; its suffix tells the format, any other than .json, .jsonl, .csv means plain lines.

    Raises InvalidRequest naming every bad row by its place.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InvalidRequest([FieldProblem(str(path), error.strerror or "cannot be read")]) from None
    except UnicodeDecodeError:
        raise InvalidRequest([FieldProblem(str(path), "is not UTF-8 text")]) from None
    entries = list(_FORMATS.get(path.suffix.lower(), _plain_lines)(text))
    if not entries:
        raise InvalidRequest([FieldProblem(str(path), "holds no prompt")])
    return _rows(entries)


def _rows(entries: list[Entry | Unreadable]) -> list[PromptRow]:
    problems: list[FieldProblem] = []
    rows = []
    for entry in entries:
        if isinstance(entry, Unreadable):
            problems.append(FieldProblem(entry.place, entry.message))
            continue
        try:
            rows.append(PromptRow.model_validate({_ALIASES.get(k, k): v for k, v in entry.fields.items()}))
        except ValidationError as error:
            problems += [FieldProblem(f"{entry.place}, {p.field}", p.message) for p in problems_of(error)]
    if problems:
        raise InvalidRequest(problems)
    return rows


def _lines(text: str) -> Iterator[tuple[str, str]]:
    """The lines that say something, each after its place. A prompt may hold what only str.splitlines cuts at."""
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield f"line {number}", line.strip()


def _plain_lines(text: str) -> Iterator[Entry]:
    for place, line in _lines(text):
        if not line.startswith("#"):
            yield Entry(place, {"prompt": line})


def _json_lines(text: str) -> Iterator[Entry | Unreadable]:
    for place, line in _lines(text):
        try:
            yield Entry(place, _fields(json.loads(line)))
        except ValueError as error:
            yield Unreadable(place, f"is not JSON: {_why(error)}")


def _json_list(text: str) -> Iterator[Entry]:
    """A list of prompts; they have no line numbers worth telling, so they are counted instead."""
    try:
        entries = json.loads(text)
    except ValueError as error:
        raise InvalidRequest([FieldProblem("file", f"is not JSON: {error}")]) from None
    if not isinstance(entries, list):
        raise InvalidRequest([FieldProblem("file", "must be a list of prompts or of objects with a prompt")])
    for number, entry in enumerate(entries, 1):
        yield Entry(f"entry {number}", _fields(entry))


def _why(error: ValueError) -> str:
    """What is wrong with a line, without the line number that the parser counts within it."""
    return f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)


def _fields(entry: Any) -> Mapping[str, Any]:
    """An entry's fields; what is neither text nor object is left for the row's own check to refuse."""
    return entry if isinstance(entry, dict) else {"prompt": entry}


def _csv_rows(text: str) -> Iterator[Entry]:
    """The rows below the header. A cell in quotes may run over several lines: a row begins where the last ended."""
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        header = next(reader, [])
        if "prompt" not in header:
            raise InvalidRequest([FieldProblem("line 1", "the header of a CSV file must have a column `prompt`")])
        began = reader.line_num + 1
        for cells in reader:
            if any(cells):
                columns = zip_longest(header, cells, fillvalue="")
                fields = {name or "(a cell without a heading)": cell for name, cell in columns if cell}
                yield Entry(f"line {began}", _unfolded(fields))
            began = reader.line_num + 1
    except csv.Error as error:
        raise InvalidRequest([FieldProblem(f"line {reader.line_num}", f"is not CSV: {error}")]) from None


def _unfolded(cells: Mapping[str, str]) -> Mapping[str, Any]:
    """The cells of a row as its fields: styles stand between bars, a second pass has a column for each setting."""
    hires = {name.removeprefix(_HIRES): cell for name, cell in cells.items() if name.startswith(_HIRES)}
    fields: dict[str, Any] = {name: cell for name, cell in cells.items() if not name.startswith(_HIRES)}
    if "styles" in fields:
        fields["styles"] = [style.strip() for style in fields["styles"].split("|") if style.strip()]
    # A cell below `hires` itself is for the row's own check to refuse.
    return {"hires": hires, **fields} if hires else fields


_FORMATS: Mapping[str, Callable[[str], Iterable[Entry | Unreadable]]] = {
    ".json": _json_list,
    ".jsonl": _json_lines,
    ".csv": _csv_rows,
}
