"""The prompts of a command: what was typed, and the rows of a file, whose mistakes are named by file and line."""

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

Send = Callable[[Path, str], str]
"""Sends a picture ahead, as an `image` or a `mask`, and says what it is called at the farm."""


_ADDRESS = re.compile(r"https?://", re.IGNORECASE)
# A picture in a row; no name is so long without a dot.
_BASE64 = re.compile(r"data:.*|[A-Za-z0-9+/\s]{80,}={0,2}\s*", re.DOTALL | re.IGNORECASE)
# No picture is so small, and no name so long.
_LONGEST_NAME = 255
_LONGEST_PATH = 4096
_PLACE = re.compile(r"\bprompts\[(\d{1,9})\]")
# How warnings begin: `row 3: ...`, or `rows 3, 7 and 1,041 more: ...`.
_ABOUT_ROWS = re.compile(r"(rows? \d[^:]*)(?=: )")
_ROW = re.compile(r"(?<![,\d])\d+\b(?!,\d| more)")
_PATH = re.compile(r"prompts\[(\d+)\](?:\.(.+))?")


@dataclass(frozen=True)
class Asked:
    """A prompt with its settings, as a request has them; `place` is the file and line, None if it was typed.

    Its pictures are looked for in `folder`.
    """

    fields: Mapping[str, Any]
    place: str | None = None
    folder: Path = Path()


def read_asked(prompts: Sequence[str], file: Path | None) -> list[Asked]:
    """What was typed, then the rows of the file; `-` is standard input. Raises InvalidRequest.

    What was typed and is a file, or text of one, is refused: it would be rendered as it is written.
    """
    problems = [problem for number, prompt in enumerate(prompts) for problem in _no_prompt(number, prompt)]
    if problems:
        raise InvalidRequest(problems)
    typed = [Asked({"prompt": prompt}) for prompt in prompts]
    if file is None:
        return typed
    found = read_rows(file)
    return typed + [
        Asked(placed.row.model_dump(mode="json", exclude_none=True), placed.place, file.parent) for placed in found
    ]


def _no_prompt(number: int, prompt: str) -> Iterator[FieldProblem]:
    """Why what was typed is no prompt."""
    field = f"prompts[{number}]"
    if prompt.strip() == "-":
        yield FieldProblem(field, "`-` is no prompt: standard input is read with --file -")
    elif (why := _meant_file(prompt)) is not None:
        yield FieldProblem(field, f"{prompt!r} names a file, and would be rendered as a prompt: {why}")
    for mistaken in no_prompts(prompt):
        line = f"line {mistaken.line} " if "\n" in prompt.strip() else ""
        yield FieldProblem(field, f"{line}{mistaken}")


def _meant_file(prompt: str) -> str | None:
    """How to say what a file's name was meant for; None where it is none. Names without a suffix are words, too."""
    path = Path(prompt)
    if len(prompt) > _LONGEST_PATH or not path.suffix or not _is_file(path):
        return None
    try:
        format_of(path)
    except Mistaken as mistaken:
        return str(mistaken)
    return f"say --file {shlex.quote(prompt)}"


def send_pictures(send: Send, rows: Sequence[Asked]) -> list[dict[str, Any]]:
    """The rows as a request takes them, their pictures sent ahead. Raises InvalidRequest naming every bad one."""
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


def send_picture(send: Send, folder: Path, text: str, field: str) -> str:
    """What names a picture: a file is sent ahead; an upload and an address are left to the portal.

    Raises InvalidRequest.
    """
    path = folder / text[: _LONGEST_NAME + 1]
    if len(text) <= _LONGEST_NAME and _is_file(path):
        return _sent(send, path, field)
    if is_digest(text) or _ADDRESS.match(text):
        return text
    where = "here" if folder == Path() else f"in {folder}"
    message = f"{text[:200]!r} is no file {where}, nor the id of an upload, nor an https:// address"
    raise InvalidRequest.at(field, message)


def _sent(send: Send, path: Path, field: str) -> str:
    try:
        return send(path, field)
    except InvalidRequest as error:
        found = [FieldProblem(field, f"{path.name}: {problem.message}") for problem in error.problems]
    except FarmError as error:
        if type(error) is not FarmError:
            raise
        # What the portal says of this very picture, such as that it is too large.
        found = [FieldProblem(field, f"{path.name}: {error}")]
    raise InvalidRequest(found)


def _is_file(path: Path) -> bool:
    """Whether there is such a file: not every text is a name that a disk could have."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


@contextmanager
def naming_lines(rows: Sequence[Asked]) -> Iterator[None]:
    """Name the file and the line where a mistake in a row of the request is raised."""
    try:
        yield
    except InvalidRequest as error:
        raise InvalidRequest([_placed(problem, rows) for problem in error.problems]) from None


def name_lines(text: str, rows: Sequence[Asked]) -> str:
    """A sentence of the portal that names rows of the request, with their files and lines."""
    if about := _ABOUT_ROWS.match(text):
        text = _name_rows(about[1], rows) + text[about.end() :]
    return _PLACE.sub(lambda match: _place(int(match[1]), rows) or match[0], text)


def _name_rows(about: str, rows: Sequence[Asked]) -> str:
    """The rows by file and line; as they are counted where one of them was typed."""
    places = {number: _place(int(number) - 1, rows) for number in _ROW.findall(about)}
    if None in places.values():
        return about
    named = _ROW.sub(lambda number: places[number[0]] or "", about)
    return named.removeprefix("rows ").removeprefix("row ")


def _place(number: int, rows: Sequence[Asked]) -> str | None:
    return rows[number].place if number < len(rows) else None


def _placed(problem: FieldProblem, rows: Sequence[Asked]) -> FieldProblem:
    path = _PATH.fullmatch(problem.field)
    if path is None or (place := _place(int(path[1]), rows)) is None:
        return problem
    return FieldProblem(f"{place}, {path[2]}" if path[2] else place, problem.message)
