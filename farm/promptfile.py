"""Prompt files: JSON, JSON lines, CSV, or one prompt per line, read into the rows of a job request."""

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from farm.errors import FieldProblem, InvalidRequest
from farm.specs import PromptRow, problems_of

# What other programs call these fields.
_ALIASES: Mapping[str, str] = {
    "steps": "num_inference_steps",
    "guidance": "guidance_scale",
    "cfg_scale": "guidance_scale",
    "negative": "negative_prompt",
    "sampler_name": "sampler",
    "model": "checkpoint",
    "count": "images_per_prompt",
}


@dataclass(frozen=True)
class Line:
    """One entry of a file: the line it began on, counted from 1, and what stood there."""

    number: int
    fields: Mapping[str, Any]


def read_prompts(path: Path) -> list[PromptRow]:
    """Read the rows of a file; its suffix tells the format, any other than .json, .jsonl, .csv means plain lines.

    Raises InvalidRequest naming every bad row by its line number.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InvalidRequest([FieldProblem(str(path), error.strerror or "cannot be read")]) from None
    except UnicodeDecodeError:
        raise InvalidRequest([FieldProblem(str(path), "is not UTF-8 text")]) from None
    lines = list(_FORMATS.get(path.suffix.lower(), _plain_lines)(text))
    if not lines:
        raise InvalidRequest([FieldProblem(str(path), "holds no prompt")])
    return _rows(lines)


def _rows(lines: list[Line]) -> list[PromptRow]:
    problems: list[FieldProblem] = []
    rows = []
    for line in lines:
        try:
            rows.append(PromptRow.model_validate({_ALIASES.get(k, k): v for k, v in line.fields.items()}))
        except ValidationError as error:
            problems += [FieldProblem(f"line {line.number}, {p.field}", p.message) for p in problems_of(error)]
    if problems:
        raise InvalidRequest(problems)
    return rows


def _plain_lines(text: str) -> Iterator[Line]:
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.startswith("#"):
            yield Line(number, {"prompt": line.strip()})


def _json_lines(text: str) -> Iterator[Line]:
    problems = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            yield Line(number, _fields(json.loads(line)))
        except ValueError as error:
            problems.append(FieldProblem(f"line {number}", f"is not JSON: {error}"))
    if problems:
        raise InvalidRequest(problems)


def _json_list(text: str) -> Iterator[Line]:
    """A list of prompts; they have no line numbers worth telling, so they are counted instead."""
    try:
        entries = json.loads(text)
    except ValueError as error:
        raise InvalidRequest([FieldProblem("file", f"is not JSON: {error}")]) from None
    if not isinstance(entries, list):
        raise InvalidRequest([FieldProblem("file", "must be a list of prompts or of objects with a prompt")])
    for number, entry in enumerate(entries, 1):
        yield Line(number, _fields(entry))


def _fields(entry: Any) -> Mapping[str, Any]:
    """An entry's fields; what is neither text nor object is left for the row's own check to refuse."""
    return entry if isinstance(entry, dict) else {"prompt": entry}


def _csv_rows(text: str) -> Iterator[Line]:
    reader = csv.DictReader(io.StringIO(text), restkey="(more cells than the header has)")
    if "prompt" not in (reader.fieldnames or ()):
        raise InvalidRequest([FieldProblem("line 1", "the header of a CSV file must have a column `prompt`")])
    for row in reader:
        yield Line(reader.line_num, {name: cell for name, cell in row.items() if cell not in (None, "")})


_FORMATS: Mapping[str, Callable[[str], Iterator[Line]]] = {
    ".json": _json_list,
    ".jsonl": _json_lines,
    ".csv": _csv_rows,
}
