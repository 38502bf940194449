"""The prompts of a command: typed ones, and the rows of a file, whose mistakes are named by file and line."""

import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from farm.errors import FarmError, FieldProblem, InvalidRequest
from farm.intake.promptfiles.read import read_rows
from farm.intake.promptfiles.recognise import Mistaken, format_of, no_prompts
from farm.spec.digests import is_digest
from farm.spec.fields import PICTURES

SendPicture = Callable[[Path, str], str]
"""Uploads a picture, as an `image` or a `mask`, and returns its id."""


_ADDRESS = re.compile(r"https?://", re.IGNORECASE)
# A picture's content in a row; no file name is so long without a dot.
_BASE64 = re.compile(r"data:.*|[A-Za-z0-9+/\s]{80,}={0,2}\s*", re.DOTALL | re.IGNORECASE)
# Longer texts are not names of files.
_LONGEST_NAME = 255
_LONGEST_PATH = 4096
_PLACE = re.compile(r"\bprompts\[(\d{1,9})\]")
# How warnings begin: `row 3: ...`, or `rows 3, 7 and 1,041 more: ...`.
_ABOUT_ROWS = re.compile(r"(rows? \d[^:]*)(?=: )")
_ROW = re.compile(r"(?<![,\d])\d+\b(?!,\d| more)")
_PATH = re.compile(r"prompts\[(\d+)\](?:\.(.+))?")


@dataclass(frozen=True)
class RequestedRow:
    """A prompt with its settings, as a request has them; `place` is the file and line, None if it was typed.

    Its picture files are searched in `folder`.
    """

    fields: Mapping[str, Any]
    place: str | None = None
    folder: Path = Path()


def read_prompt_rows(prompts: Sequence[str], file: Path | None) -> list[RequestedRow]:
    """The typed prompts, then the rows of the file; `-` is standard input. Raises InvalidRequest.

    A typed prompt that names a file, or is the text of one, is refused: it would be rendered as a prompt.
    """
    problems = [problem for number, prompt in enumerate(prompts) for problem in _find_mistakes(number, prompt)]
    if problems:
        raise InvalidRequest(problems)
    typed = [RequestedRow({"prompt": prompt}) for prompt in prompts]
    if file is None:
        return typed
    found = read_rows(file)
    return typed + [
        RequestedRow(placed.row.model_dump(mode="json", exclude_none=True), placed.place, file.parent)
        for placed in found
    ]


def _find_mistakes(number: int, prompt: str) -> Iterator[FieldProblem]:
    """The reasons why a typed text is not a prompt."""
    field = f"prompts[{number}]"
    if prompt.strip() == "-":
        yield FieldProblem(field, "`-` is not a prompt: read standard input with --file -")
    elif (why := _explain_file_name(prompt)) is not None:
        yield FieldProblem(field, f"{prompt!r} names a file, and would be rendered as a prompt: {why}")
    for mistaken in no_prompts(prompt):
        line = f"line {mistaken.line} " if "\n" in prompt.strip() else ""
        yield FieldProblem(field, f"{line}{mistaken}")


def _explain_file_name(prompt: str) -> str | None:
    """How to submit a file whose name was typed as a prompt; None for other texts and names without a suffix."""
    path = Path(prompt)
    if len(prompt) > _LONGEST_PATH or not path.suffix or not _is_file(path):
        return None
    try:
        format_of(path)
    except Mistaken as mistaken:
        return str(mistaken)
    return f"use --file {shlex.quote(prompt)}"


def send_pictures(send: SendPicture, rows: Sequence[RequestedRow]) -> list[dict[str, Any]]:
    """The rows as a request takes them, their pictures uploaded. Raises InvalidRequest naming every bad one."""
    problems: list[FieldProblem] = []
    found = []
    for row in rows:
        fields = dict(row.fields)
        for name in PICTURES:
            if name in fields and row.place is not None and not _BASE64.fullmatch(fields[name]):
                try:
                    fields[name] = send_picture(send, row.folder, fields[name], name)
                except InvalidRequest as error:
                    problems += [FieldProblem(f"{row.place}, {name}", p.message) for p in error.problems]
        found.append(fields)
    if problems:
        raise InvalidRequest(problems)
    return found


def send_picture(send: SendPicture, folder: Path, text: str, field: str) -> str:
    """The value that names a picture in a request: a file is uploaded; an upload's id and an address stay.

    Raises InvalidRequest.
    """
    path = folder / text[: _LONGEST_NAME + 1]
    if len(text) <= _LONGEST_NAME and _is_file(path):
        return _send_file(send, path, field)
    if is_digest(text) or _ADDRESS.match(text):
        return text
    where = "here" if folder == Path() else f"in {folder}"
    message = f"{text[:200]!r} is neither a file {where}, nor the id of an upload, nor an https:// address"
    raise InvalidRequest.at(field, message)


def _send_file(send: SendPicture, path: Path, field: str) -> str:
    try:
        return send(path, field)
    except InvalidRequest as error:
        found = [FieldProblem(field, f"{path.name}: {problem.message}") for problem in error.problems]
    except FarmError as error:
        if type(error) is not FarmError:
            raise
        # The portal's refusal of this picture, for example because it is too large.
        found = [FieldProblem(field, f"{path.name}: {error}")]
    raise InvalidRequest(found)


def _is_file(path: Path) -> bool:
    """Whether there is such a file; False for texts that cannot be a file's name."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


@contextmanager
def naming_lines(rows: Sequence[RequestedRow]) -> Iterator[None]:
    """Name the file and the line where a mistake in a row of the request is raised."""
    try:
        yield
    except InvalidRequest as error:
        raise InvalidRequest([_add_place(problem, rows) for problem in error.problems]) from None


def name_lines(text: str, rows: Sequence[RequestedRow]) -> str:
    """A message of the portal about rows of the request, with their files and lines instead of numbers."""
    if about := _ABOUT_ROWS.match(text):
        text = _name_rows(about[1], rows) + text[about.end() :]
    return _PLACE.sub(lambda match: _find_place(int(match[1]), rows) or match[0], text)


def _name_rows(about: str, rows: Sequence[RequestedRow]) -> str:
    """The rows by file and line; by number where one of them was typed."""
    places = {number: _find_place(int(number) - 1, rows) for number in _ROW.findall(about)}
    if None in places.values():
        return about
    named = _ROW.sub(lambda number: places[number[0]] or "", about)
    return named.removeprefix("rows ").removeprefix("row ")


def _find_place(number: int, rows: Sequence[RequestedRow]) -> str | None:
    return rows[number].place if number < len(rows) else None


def _add_place(problem: FieldProblem, rows: Sequence[RequestedRow]) -> FieldProblem:
    path = _PATH.fullmatch(problem.field)
    if path is None or (place := _find_place(int(path[1]), rows)) is None:
        return problem
    return FieldProblem(f"{place}, {path[2]}" if path[2] else place, problem.message)
