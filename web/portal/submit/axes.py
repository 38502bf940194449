"""The axes of a sweep in the submit form: three pairs of a field and its values, written as in the WebUI."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from farm.errors import FieldProblem, InvalidRequest
from farm.intake.request import Axis
from farm.intake.sweeps.axistext import read_values

_SLOTS = ("x", "y", "z")

EMPTY = {f"{slot}.{part}": "" for slot in _SLOTS for part in ("field", "values")}
"""The fields of the form, all empty."""

_PATH = re.compile(r"axes\[(\d)\](?:\.(field|values)(?:\[(\d+)\])?)?")


@dataclass(frozen=True)
class Slot:
    """A pair of fields in use, the axis that it makes, and what is wrong with it where it makes none."""

    name: str
    axis: dict[str, Any] | None
    problems: Sequence[FieldProblem] = ()


def read(values: Mapping[str, str]) -> list[Slot]:
    """The pairs that were not left empty; problems are named by the form's own fields."""
    return [_make_slot(name, *_read_pair(values, name)) for name in _SLOTS if any(_read_pair(values, name))]


def _read_pair(values: Mapping[str, str], slot: str) -> tuple[str, str]:
    return values[f"{slot}.field"], values[f"{slot}.values"]


def _make_slot(name: str, field: str, text: str) -> Slot:
    try:
        return Slot(name, _parse_axis(name, field, text))
    except InvalidRequest as error:
        return Slot(name, None, error.problems)


def _parse_axis(slot: str, field: str, text: str) -> dict[str, Any]:
    if not field:
        raise InvalidRequest.at(f"{slot}.field", "choose the field for these values")
    try:
        found = read_values(field, text)
    except InvalidRequest as error:
        # The message names the field, which the form shows next to it.
        messages = [problem.message.removeprefix(f"{field}: ") for problem in error.problems]
        raise InvalidRequest([FieldProblem(f"{slot}.values", message) for message in messages]) from None
    if not found:
        raise InvalidRequest.at(f"{slot}.values", "give values, separated by commas")
    return {"field": field, "values": found}


def find_field(path: str, slots: Sequence[Slot]) -> tuple[str, str] | None:
    """The field of the form that a path in a request means, and the value it names; None for other paths.

    A request has the axes that could be read, and numbers these alone.
    """
    match = _PATH.fullmatch(path)
    made = [(slot.name, slot.axis["values"]) for slot in slots if slot.axis]
    if match is None or int(match[1]) >= len(made):
        return None
    name, values = made[int(match[1])]
    return f"{name}.{match[2] or 'values'}", str(values[int(match[3])]) if match[3] else ""


def fill(axes: Sequence[Axis]) -> dict[str, str]:
    """The form's fields for the axes of a request; ranges are written out."""
    filled = dict(EMPTY)
    for slot, axis in zip(_SLOTS, axes, strict=False):
        filled[f"{slot}.field"] = axis.field
        filled[f"{slot}.values"] = _format_line(axis)
    return filled


def _format_line(axis: Axis) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow([str(value) for value in axis.values])
    return line.getvalue()
