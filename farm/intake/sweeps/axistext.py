"""Axes as people write them: `steps=10,20,30`, `seed=1-4`, `guidance=3-9 (+1.5)`, `sampler=Euler, Heun`.

The ranges are those of the WebUI's X/Y/Z plot: `A-B`, `A-B (+STEP)`, `A-B (-STEP)`, and `A-B [COUNT]` for so
many values spread evenly, whole ones without their fractions. Both ends belong to a range, and `9-7` goes down.
"""

import csv
import math
import re
from collections.abc import Iterator

from farm.errors import InvalidRequest
from farm.intake.request import MOST_VALUES
from farm.intake.sweeps.sweep import Value
from farm.spec.settingnames import OTHER_NAMES

_WHOLE = frozenset({"num_inference_steps", "clip_skip", "seed"})
_DECIMAL = frozenset({"guidance_scale", "strength", "hires.strength"})
_DIGITS = r"\d{1,15}(?:\.\d{1,15})?"
_RANGE = re.compile(
    rf"(-?{_DIGITS})\s*-\s*(-?{_DIGITS})(?:\s*\(\s*([+-]?{_DIGITS})\s*\)|\s*\[\s*(\d{{1,4}})\s*\])?"
)
_WHOLE_NUMBER = re.compile(r"[+-]?\d{1,15}")


def read_axis(text: str) -> dict[str, object]:
    """An axis as a request has it, from `FIELD=VALUES`. Raises InvalidRequest."""
    name, equals, values = text.partition("=")
    if not equals or not values.strip():
        raise InvalidRequest.at("axes", f"{text!r} is not FIELD=VALUE,VALUE,...")
    field = OTHER_NAMES.get(name.strip(), name.strip())
    return {"field": field, "values": read_values(field, values)}


def read_values(field: str, text: str) -> list[Value]:
    """The values of an axis: separated by commas, in double quotes where one holds a comma."""
    found: list[Value] = []
    for part in _parts(text):
        if part.strip():
            found.extend(_values(field, part.strip()))
        if len(found) > MOST_VALUES:
            raise InvalidRequest.at("axes", f"{field} has more than {MOST_VALUES} values")
    return found


def _parts(text: str) -> list[str]:
    try:
        return next(csv.reader([" ".join(text.split())], skipinitialspace=True), [])
    except csv.Error as error:
        raise InvalidRequest.at("axes", f"the values cannot be told apart: {error}") from None


def _values(field: str, part: str) -> Iterator[Value]:
    is_whole, is_decimal = field in _WHOLE, field in _DECIMAL or field.startswith("lora:")
    if not (is_whole or is_decimal):
        yield part
    elif match := _RANGE.fullmatch(part):
        numbers = [round(number, 6) for number in _spread(*match.groups())]
        if not numbers:
            raise InvalidRequest.at("axes", f"{field}: the range {part!r} holds no value")
        yield from map(int, numbers) if is_whole else numbers
    else:
        yield _number(field, part, is_whole=is_whole)


def _spread(first: str, last: str, step: str | None, count: str | None) -> Iterator[float]:
    low, high = float(first), float(last)
    if count is not None:
        steps = max(1, int(count) - 1)
        yield from (low + (high - low) * n / steps for n in range(min(int(count), MOST_VALUES + 1)))
        return
    stride = float(step) if step else math.copysign(1, high - low)
    # Without a sign it goes where the range does.
    if step and step[0] not in "+-":
        stride = math.copysign(stride, high - low)
    room = (high - low) / stride if stride else -1
    yield from (low + n * stride for n in range(min(math.floor(room + 1e-9), MOST_VALUES) + 1))


def _number(field: str, part: str, *, is_whole: bool) -> Value:
    try:
        if is_whole and _WHOLE_NUMBER.fullmatch(part):
            return int(part)
        if not is_whole and math.isfinite(number := float(part)):
            return number
    except ValueError:
        pass
    kind = "a whole number" if is_whole else "a number"
    raise InvalidRequest.at("axes", f"{field}: {part[:80]!r} is not {kind} or a range like 1-4")
