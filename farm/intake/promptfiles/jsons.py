"""JSON: a list of prompts, one request of the WebUI, or an entry a line; mistakes are named by line and column."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from farm.formats.badline import BadLine
from farm.formats.jsonkeys import RepeatedKey, refuse_repeated_keys
from farm.intake.promptfiles.entries import Entries, Entry, UnreadableRow

_DEEPEST = 20
_SPACE = re.compile(r"[ \t\n]*")
_FORMS = "a list of prompts, or of objects with a prompt"


class BadJson(BadLine):
    """Text that is no JSON, and where."""

    def __init__(self, line: int, column: int, message: str) -> None:
        super().__init__(line, message)
        self.column = column


def read_list(text: str) -> Entries:
    """The entries of a list, or the one object that a file is. Raises BadJson."""
    begin = _skip(text, 0)
    if text[begin : begin + 1] == "{":
        value, end = _value(text, begin)
        _end(text, end)
        return [_object(f"line {_line(text, begin)}", value)]
    if text[begin : begin + 1] != "[":
        raise _bad(text, begin, f"must be {_FORMS}")
    return list(_items(text, begin))


def _items(text: str, begin: int) -> Iterator[Entry | UnreadableRow]:
    position, number = _skip(text, begin + 1), 0
    line, counted = _line(text, begin), begin
    while text[position : position + 1] != "]":
        line, counted, number = line + text.count("\n", counted, position), position, number + 1
        value, end = _value(text, position)
        yield Entry(f"line {line}, entry {number}", _fields(value))
        position = _skip(text, end)
        if text[position : position + 1] == ",":
            comma, position = position, _skip(text, position + 1)
            if text[position : position + 1] == "]":
                raise _bad(text, comma, "is not JSON: a comma stands before the ] that ends the list")
        elif text[position : position + 1] != "]":
            raise _bad(text, position, "is not JSON: a comma or ] is missing")
    _end(text, position + 1)


def _object(place: str, value: Mapping[str, Any]) -> Entry | UnreadableRow:
    if "prompt" in value:
        return Entry(place, value)
    if "prompts" in value:
        return UnreadableRow(place, f"is a whole request, as POST /api/v1/jobs takes it; here only {_FORMS}")
    return UnreadableRow(place, f"is an object without a prompt; must be {_FORMS}")


def read_lines(text: str) -> Entries:
    """An entry a line."""
    return [_of_line(f"line {number}", line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]


def _of_line(place: str, line: str) -> Entry | UnreadableRow:
    try:
        value, end = _value(line, _skip(line, 0))
        _end(line, end)
    except BadJson as error:
        return UnreadableRow(place, f"{error} at column {error.column}")
    return Entry(place, _fields(value))


def read_any(text: str) -> Any:
    """The value of a whole text. Raises BadJson."""
    value, end = _value(text, _skip(text, 0))
    _end(text, end)
    return value


def _fields(value: Any) -> Mapping[str, Any]:
    """An entry's fields; what is neither text nor object is left for the row's own check to refuse."""
    return value if isinstance(value, dict) else {"prompt": value}


def _value(text: str, begin: int) -> tuple[Any, int]:
    """The value that begins here, and where it ends. A row holds settings in settings, and no deeper."""
    try:
        value, end = _DECODER.raw_decode(text, begin)
        if _is_deep(value):
            raise RecursionError
    except json.JSONDecodeError as error:
        raise _bad(text, error.pos, f"is not JSON: {error.msg[0].lower()}{error.msg[1:]}") from None
    except RepeatedKey as error:
        raise _bad(text, begin, f"`{error.key}` stands twice in one object") from None
    except RecursionError:
        raise _bad(text, begin, "is nested too deeply") from None
    except ValueError as error:
        raise _bad(text, begin, f"is not JSON: {error}") from None
    return value, end


def _is_deep(value: Any) -> bool:
    """Whether lists and objects lie deeper in one another than any file has them: looked at level by level."""
    level = [value]
    for _ in range(_DEEPEST):
        level = [
            inner
            for outer in level
            if isinstance(outer, list | dict)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, list | dict)
        ]
    return bool(level)


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number of JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=refuse_repeated_keys, parse_constant=_no_number)


def _skip(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    assert match is not None, "it matches nothing, too"
    return match.end()


def _end(text: str, position: int) -> None:
    if (rest := _skip(text, position)) < len(text):
        raise _bad(text, rest, "is not JSON: something follows its end")


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def _bad(text: str, position: int, message: str) -> BadJson:
    return BadJson(_line(text, position), position - text.rfind("\n", 0, position), message)
