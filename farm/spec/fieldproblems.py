"""What pydantic finds wrong, as problems of fields that are named as a request writes them."""

import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from farm.errors import FieldProblem

_MOST_PROBLEMS = 10_000

NO_SUCH_FIELD = "there is no such field"

_PLAINER: Mapping[str, str] = {
    "extra_forbidden": NO_SUCH_FIELD,
    "timezone_aware": "must be a time with its zone, like 2030-01-31T08:00:00Z",
    "int_parsing": "input should be a valid integer",
    "float_parsing": "input should be a valid number",
}
"""What is said instead of pydantic's sentence, by its type of error."""

_NAMED = re.compile(r"([a-z][a-z_.]*): (.+)", re.DOTALL)


def problems_of(error: ValidationError) -> list[FieldProblem]:
    """Pydantic's findings as field problems, with paths like `prompts[3].width`.

    Beyond _MOST_PROBLEMS they are only counted: a body of 4 MB can hold a million, which took 1.6 GB to name.
    """
    if error.error_count() > _MOST_PROBLEMS:
        return [
            FieldProblem("request", f"has {error.error_count():,} mistakes, too many to name. Try a few rows first")
        ]
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return [_problem(p) for p in found]


def _problem(problem: Mapping[str, Any]) -> FieldProblem:
    """A rule about several fields names the one to change itself, before a colon."""
    location, message = problem["loc"], _message(problem)
    named = _NAMED.fullmatch(message) if problem["type"] == "value_error" else None
    if named is None:
        return FieldProblem(field_path(location), message)
    # `hires.scale` said of `hires` itself is one path, not two.
    is_own = bool(location) and location[-1] == named[1].partition(".")[0]
    return FieldProblem(field_path((*(location[:-1] if is_own else location), named[1])), named[2])


def field_path(location: tuple[int | str, ...]) -> str:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return path.removeprefix(".") or "request"


def _message(problem: Mapping[str, Any]) -> str:
    if plainer := _PLAINER.get(problem["type"]):
        return plainer
    message: str = problem["msg"].removeprefix("Value error, ")
    return message[0].lower() + message[1:]
