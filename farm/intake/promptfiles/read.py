"""Prompt files: read into the rows of a job request, whatever their format, each with the place where it stands."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from farm.errors import FieldProblem, InvalidRequest
from farm.formats.badline import BadLine
from farm.formats.delimited import misfit, read_table
from farm.formats.text import STANDARD_INPUT, place_of, read_text, refuse
from farm.formats.yamls import MOST_BYTES as MOST_YAML_BYTES
from farm.formats.yamls import BadYaml
from farm.intake.promptfiles import jsons, yamlrows
from farm.intake.promptfiles.commands import is_command, read_command
from farm.intake.promptfiles.entries import Entries, Entry, Misread, UnreadableRow
from farm.intake.promptfiles.jsons import BadJson
from farm.intake.promptfiles.recognise import Mistaken, check_lines, format_of, guess
from farm.intake.promptfiles.settings import TEXTS, translate_names, with_points
from farm.intake.request import PromptRow
from farm.spec.fieldproblems import problems_of
from farm.spec.names import nearest

_SETTINGS = tuple(PromptRow.model_fields)
# `#1 artist` is more likely a prompt than a comment.
_COMMENT = re.compile(r"#(?!\d)")
_SPREADSHEETS = (
    (re.compile(r"[-+]?\d+(?:,\d+)+"), "; write it without a comma, decimals with a point"),
    (re.compile(r"[-+]?\d+(?:[.,]\d+)?[eE][-+]?\d+"), "; a spreadsheet shortened it, write it with all its digits"),
)


@dataclass(frozen=True)
class PlacedRow:
    """A row, and where it stands: the file and the line."""

    place: str
    row: PromptRow


def read_prompts(path: Path) -> list[PromptRow]:
    """The rows of a file, as `read_rows` reads them."""
    return [placed.row for placed in read_rows(path)]


def read_rows(path: Path) -> list[PlacedRow]:
    """Read the rows of a file by the format that its suffix tells; text without one is looked at.

    `-` is standard input. Raises InvalidRequest naming every bad row by file and line, and what is no prompt file.
    """
    try:
        known = None if path == STANDARD_INPUT else format_of(path)
    except Mistaken as error:
        raise refuse(path, str(error)) from None
    text = read_text(path)
    found = known or (guess(text) if _is_nameless(path) else "lines")
    try:
        entries = _READERS[found](text)
    except BadLine as error:
        raise InvalidRequest.at(f"{place_of(path)}, {_place(error)}", str(error)) from None
    if not entries:
        raise refuse(path, "holds no prompt")
    return _rows(path, entries)


def _place(error: BadLine) -> str:
    column = f", column {error.column}" if isinstance(error, BadJson) else ""
    return f"line {error.line}{column}"


def _is_nameless(path: Path) -> bool:
    """Whether there is no file to be renamed: standard input, or what a shell hands over as a pipe."""
    return path == STANDARD_INPUT or not path.is_file()


def _rows(path: Path, entries: Entries) -> list[PlacedRow]:
    problems: list[FieldProblem] = []
    rows = []
    for entry in entries:
        place = f"{place_of(path)}, {entry.place}"
        if isinstance(entry, UnreadableRow):
            problems.append(FieldProblem(place, entry.message))
            continue
        try:
            fields = translate_names(entry.fields)
        except Misread as misread:
            problems += [FieldProblem(f"{place}, {p.field}", p.message) for p in misread.problems]
            continue
        try:
            rows.append(PlacedRow(place, PromptRow.model_validate(fields)))
        except ValidationError as error:
            problems += [FieldProblem(f"{place}, {p.field}", _message(p, fields)) for p in problems_of(error)]
    if problems:
        raise InvalidRequest(problems)
    return rows


def _message(problem: FieldProblem, fields: Mapping[str, Any]) -> str:
    """With what stands there; or the field that was most likely meant, where there is none of that name."""
    if problem.message != "there is no such field":
        return _with_value(problem, fields)
    near = nearest(problem.field, _SETTINGS)
    return f"{problem.message}; did you mean {near}?" if near else problem.message


def _with_value(problem: FieldProblem, fields: Mapping[str, Any]) -> str:
    """A number, or what should be one, is shown; a spreadsheet may have made it of another."""
    value: Any = fields
    for name in problem.field.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    if problem.field in TEXTS or not isinstance(value, str | int | float):
        return problem.message
    hint = next((hint for form, hint in _SPREADSHEETS if form.fullmatch(str(value))), "")
    return f"{str(value)[:40]!r}: {problem.message}{hint}"


def _lines(text: str) -> Entries:
    """A prompt a line, or options as the WebUI's script has them.

    A prompt may hold what only str.splitlines cuts at. Raises Mistaken for text of another format.
    """
    check_lines(text)
    lines = [(f"line {number}", line.strip()) for number, line in enumerate(text.split("\n"), 1)]
    return [_line(place, line) for place, line in lines if line and not _COMMENT.match(line)]


def _line(place: str, line: str) -> Entry | UnreadableRow:
    if line.startswith("#"):
        why = f"begins with {line.split()[0][:20]}, which may be a comment or a prompt: write `# ` before a comment"
        return UnreadableRow(place, f"{why}, and begin a prompt with another sign")
    return read_command(place, line) if is_command(line) else Entry(place, {"prompt": line})


def _table(text: str) -> Entries:
    """The rows below the header; empty cells are left to the job. Raises BadTable."""
    table = read_table(text, "prompt")
    entries: Entries = []
    for row in table.rows:
        place, why = f"line {row.line}", misfit(table.header, row)
        cells = {name: cell for name, cell in zip(table.header.cells, row.cells, strict=False) if cell}
        # Where commas part the cells, `1,234` may be a thousand as well.
        fields = cells if table.delimiter == "," else with_points(cells)
        entries.append(UnreadableRow(place, why) if why else Entry(place, fields))
    return entries


def _yaml(text: str) -> Entries:
    if len(text) > MOST_YAML_BYTES:
        raise BadYaml(1, f"is larger than {MOST_YAML_BYTES // 2**20} MiB, which is the most that is read of YAML")
    return yamlrows.read_rows(text)


_READERS: Mapping[str, Callable[[str], Entries]] = {
    "lines": _lines,
    "json": jsons.read_list,
    "json lines": jsons.read_lines,
    "table": _table,
    "yaml": _yaml,
}
