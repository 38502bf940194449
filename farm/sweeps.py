"""Sweeps: the points that a job's axes span, what each changes, and what it is called on the grid."""

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from farm.budget import LONGEST_PROMPT
from farm.fields import LARGEST_LORA_WEIGHT, SEEDS
from farm.geometry import Misfit, Settings
from farm.names import plain
from farm.requests import Axis, JobRequest
from farm.settingnames import TITLES

Value = str | int | float

Point = tuple[int, ...]
"""The index of the value that each axis has, in the order of the axes."""

_LORA = "lora:"
_LORA_TAG = re.compile(r"<(?:lora|lyco):([^<>:]+)(?::[^<>]*)?>")

# What a worker has to load: whoever changes it least often renders soonest.
_COSTLY = ("checkpoint", "vae")

_SIZE = re.compile(r"\s*(\d{1,5})\s*[xX\u00d7]\s*(\d{1,5})\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Cell:
    """Where an image stands in a sweep: its prompt, its place on each axis, and which repeat it is; all from 0."""

    prompt: int
    x: int
    y: int
    z: int
    repeat: int

    def repeated(self, times: int) -> list[int]:
        """As the database keeps it: so many repeats after this one."""
        return [self.prompt, self.x, self.y, self.z, self.repeat + times]


def count_points(request: JobRequest) -> int:
    sizes = [len(axis.values) for axis in request.axes]
    if request.combine == "zip":
        return sizes[0] if sizes else 1
    total = 1
    for size in sizes:
        total *= size
    return total


def points(request: JobRequest) -> Iterator[Point]:
    """The points of a request's axes, what is costly to change changing slowest; one empty point without axes."""
    if request.combine == "zip" and request.axes:
        yield from ((index,) * len(request.axes) for index in range(len(request.axes[0].values)))
        return
    order = sorted(range(len(request.axes)), key=lambda n: _cost(request.axes[n]), reverse=True)
    for chosen in itertools.product(*(range(len(request.axes[n].values)) for n in order)):
        by_axis = dict(zip(order, chosen, strict=True))
        yield tuple(by_axis[n] for n in range(len(request.axes)))


def _cost(axis: Axis) -> int:
    if axis.field.startswith(_LORA):
        return 1
    return 1 + len(_COSTLY) - _COSTLY.index(axis.field) if axis.field in _COSTLY else 0


def cell_of(request: JobRequest, prompt: int, point: Point, repeat: int) -> Cell:
    """Zipped axes lie in one row; others are x, y and z."""
    if request.combine == "zip":
        return Cell(prompt, point[0], 0, 0, repeat)
    x, y, z = (*point, 0, 0, 0)[:3]
    return Cell(prompt, x, y, z, repeat)


# What is applied first: a prompt is there before anything is replaced in it.
_FIRST = ("prompt", "negative_prompt", "prompt_replace")


def placed(settings: Settings, axes: Sequence[Axis], point: Point) -> dict[str, Any]:
    """The settings at a point of the sweep, but for the weights of LoRAs. Raises Misfit."""
    changed = dict(settings)
    order = {name: number for number, name in enumerate(_FIRST)}
    for axis, index in sorted(zip(axes, point, strict=True), key=lambda pair: order.get(pair[0].field, len(order))):
        if not axis.field.startswith(_LORA):
            changed.update(_change(changed, axis, axis.values[index]))
    return changed


def weighted(settings: Settings, axes: Sequence[Axis], point: Point) -> dict[str, Any]:
    """The settings with the weights of LoRAs at a point of the sweep, once the prompt has its styles."""
    prompt = settings["prompt"]
    for axis, index in zip(axes, point, strict=True):
        if axis.field.startswith(_LORA):
            prompt = _with_lora(prompt, axis.field, axis.values[index])
    return {**settings, "prompt": prompt}


def _change(settings: Settings, axis: Axis, value: Value) -> dict[str, Any]:
    if axis.field == "size":
        return _sized(value)
    if axis.field == "prompt_replace":
        return _replaced(settings, str(axis.values[0]), str(value))
    if axis.field == "seed":
        return {"seed": _seed(value)}
    if axis.field == "hires.strength":
        if "hires" not in settings:
            raise Misfit("hires.strength", "hires must be set for its strength to be swept")
        return {"hires": {**settings["hires"], "strength": value}}
    # A number may stand for a text, as for a prompt like `7`.
    is_text = axis.field in ("prompt", "negative_prompt", "checkpoint", "vae", "sampler", "schedule_type")
    changes: dict[str, Any] = {axis.field: str(value) if is_text else value}
    return changes


def read_size(text: str) -> tuple[int, int] | None:
    """Width and height, in pixels, of a text such as 512x768; None where it is no size."""
    match = _SIZE.fullmatch(text)
    return (int(match[1]), int(match[2])) if match else None


def _sized(value: Value) -> dict[str, Any]:
    size = read_size(str(value))
    if size is None:
        raise Misfit("size", f"{str(value)[:40]!r} is not a size such as 512x768")
    return {"width": size[0], "height": size[1]}


def _replaced(settings: Settings, wanted: str, value: str) -> dict[str, Any]:
    texts = {name: settings[name] for name in ("prompt", "negative_prompt") if name in settings}
    if not wanted:
        raise Misfit("prompt_replace", "the first value is what to look for, and must not be empty")
    if not any(wanted in text for text in texts.values()):
        raise Misfit("prompt_replace", f"{wanted[:80]!r} is in no prompt")
    # Told from the lengths, before the text is made: both may be long, and occur often.
    length = max(len(text) + text.count(wanted) * (len(value) - len(wanted)) for text in texts.values())
    if length > LONGEST_PROMPT:
        said = f"would make a prompt of {length:,} characters; at most {LONGEST_PROMPT:,} are allowed"
        raise Misfit("prompt_replace", said)
    return {name: text.replace(wanted, value) for name, text in texts.items()}


def _with_lora(prompt: str, field: str, value: Value) -> str:
    """The prompt with this weight in the LoRA's tags; one that has no such tag gets one.

    Of several tags the first has the weight, and the others none: they would add up.
    """
    name, weight = field.removeprefix(_LORA), _lora_weight(field, value)
    wanted, tag, found = plain(name), f"<lora:{name}:{weight}>", 0

    def weigh(match: re.Match[str]) -> str:
        nonlocal found
        if plain(match[1]) != wanted:
            return match[0]
        found += 1
        return tag if found == 1 else ""

    changed = _LORA_TAG.sub(weigh, prompt)
    return changed if found else f"{prompt} {tag}"


def _lora_weight(field: str, value: Value) -> str:
    """As a tag may have it: never like 1e-05."""
    try:
        weight = float(value)
    except (ValueError, OverflowError):
        raise Misfit(field, f"{str(value)[:40]!r} is not a weight") from None
    if not abs(weight) <= LARGEST_LORA_WEIGHT:
        raise Misfit(field, f"a weight is from -{LARGEST_LORA_WEIGHT} to {LARGEST_LORA_WEIGHT}")
    return f"{weight:.6f}".rstrip("0").rstrip(".")


def _seed(value: Value) -> int:
    text = str(value)
    if not (text.isascii() and text.isdecimal() and len(text) <= 10 and int(text) < SEEDS):
        raise Misfit("seed", f"{text[:40]!r} is not a seed: a whole number below {SEEDS}")
    return int(text)


def label(axis: Axis, index: int) -> str:
    """What the grid calls a value of an axis."""
    value = axis.values[index]
    shown = f"{value:g}" if isinstance(value, float) else str(value)
    if axis.field in ("prompt", "prompt_replace"):
        return shown
    title = TITLES.get(axis.field) or f"LoRA {axis.field.removeprefix(_LORA)}"
    return f"{title}: {shown}"
