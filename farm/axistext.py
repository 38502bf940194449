"""Axes as people write them: `steps=10,20,30`, `seed=1-4`, `guidance=3-9 (+1.5)`, `sampler=Euler, Heun`.

The ranges are those of the WebUI's X/Y/Z plot: `A-B`, `A-B (+STEP)`, and `A-B [COUNT]` for so many values
spread evenly.
"""

import csv
import re
from collections.abc import Iterator, Mapping

from farm.errors import FieldProblem, InvalidRequest
from farm.requests import MOST_VALUES
from farm.sweeps import Value

ALIASES: Mapping[str, str] = {
    "steps": "num_inference_steps",
    "guidance": "guidance_scale",
    "cfg_scale": "guidance_scale",
    "cfg": "guidance_scale",
    "negative": "negative_prompt",
    "schedule": "schedule_type",
    "denoising": "strength",
    "replace": "prompt_replace",
    "prompt_sr": "prompt_replace",
    "model": "checkpoint",
    "hires_strength": "hires.strength",
}
"""Other names of the fields of an axis."""

_WHOLE = frozenset({"num_inference_steps", "clip_skip", "seed"})
_DECIMAL = frozenset({"guidance_scale", "strength", "hires.strength"})
_NUMBER = r"(-?\d+(?:\.\d+)?)"
_RANGE = re.compile(rf"{_NUMBER}\s*-\s*{_NUMBER}(?:\s*\(\s*\+?{_NUMBER}\s*\)|\s*\[\s*(\d+)\s*\])?")


def read_axis(text: str) -> dict[str, object]:
    """An axis as a request has it, from `FIELD=VALUES`. Raises InvalidRequest."""
    name, equals, values = text.partition("=")
    if not equals or not values.strip():
        raise InvalidRequest([FieldProblem("axes", f"{text!r} is not FIELD=VALUE,VALUE,...")])
    field = ALIASES.get(name.strip(), name.strip())
    return {"field": field, "values": read_values(field, values)}


def read_values(field: str, text: str) -> list[Value]:
    """The values of an axis: separated by commas, in double quotes where one holds a comma."""
    found: list[Value] = []
    for part in _parts(text):
        if part.strip():
            found.extend(_values(field, part.strip()))
        if len(found) > MOST_VALUES:
            raise InvalidRequest([FieldProblem("axes", f"{field} has more than {MOST_VALUES} values")])
    return found


def _parts(text: str) -> list[str]:
    try:
        return next(csv.reader([" ".join(text.split())], skipinitialspace=True), [])
    except csv.Error as error:
        raise InvalidRequest([FieldProblem("axes", f"the values cannot be told apart: {error}")]) from None


def _values(field: str, part: str) -> Iterator[Value]:
    is_whole, is_decimal = field in _WHOLE, field in _DECIMAL or field.startswith("lora:")
    if not (is_whole or is_decimal):
        yield part
    elif match := _RANGE.fullmatch(part):
        numbers = _spread(*match.groups())
        yield from (round(number) if is_whole else round(number, 6) for number in numbers)
    else:
        yield _number(field, part, is_whole=is_whole)


def _spread(first: str, last: str, step: str | None, count: str | None) -> Iterator[float]:
    low, high = float(first), float(last)
    if count is not None:
        steps = max(1, int(count) - 1)
        yield from (low + (high - low) * n / steps for n in range(min(int(count), MOST_VALUES + 1)))
        return
    stride = abs(float(step)) if step and float(step) else 1.0
    n = 0
    while low + n * stride <= high + 1e-9 and n <= MOST_VALUES:
        yield low + n * stride
        n += 1


def _number(field: str, part: str, *, is_whole: bool) -> Value:
    try:
        return int(part) if is_whole else float(part)
    except ValueError:
        kind = "a whole number" if is_whole else "a number"
        raise InvalidRequest(
            [FieldProblem("axes", f"{field}: {part!r} is not {kind} or a range like 1-4")]
        ) from None
