"""Sweeps: the points that a job's axes span, in their order, and what each is called on the grid."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from farm.intake.request import Axis, JobRequest
from farm.spec.settingnames import TITLES

Value = str | int | float

Point = tuple[int, ...]
"""The index of the value that each axis has, in the order of the axes."""


LORA_AXIS = "lora:"
"""What the field of an axis begins with that sweeps the weight of a LoRA."""

# What a worker has to load: a sweep that changes it least often is rendered soonest.
_COSTLY = ("checkpoint", "vae")


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


@dataclass(frozen=True)
class Sweep:
    """What the axes of a request span; without axes one empty point."""

    axes: Sequence[Axis]
    is_zipped: bool

    @classmethod
    def of(cls, request: JobRequest) -> "Sweep":
        return cls(request.axes, request.combine == "zip" and bool(request.axes))

    def count(self) -> int:
        """How many points there are."""
        sizes = [len(axis.values) for axis in self.axes]
        return sizes[0] if self.is_zipped else math.prod(sizes)

    def points(self) -> Iterator[Point]:
        """Every point, what is costly to change changing slowest."""
        if self.is_zipped:
            yield from ((index,) * len(self.axes) for index in range(len(self.axes[0].values)))
            return
        order = sorted(range(len(self.axes)), key=lambda n: _cost(self.axes[n]), reverse=True)
        for chosen in itertools.product(*(range(len(self.axes[n].values)) for n in order)):
            by_axis = dict(zip(order, chosen, strict=True))
            yield tuple(by_axis[n] for n in range(len(self.axes)))

    def cell(self, prompt: int, point: Point, repeat: int) -> Cell | None:
        """Where an image stands; None without axes. Zipped axes lie in one row; others are x, y and z."""
        if not self.axes:
            return None
        if self.is_zipped:
            return Cell(prompt, point[0], 0, 0, repeat)
        x, y, z = (*point, 0, 0, 0)[:3]
        return Cell(prompt, x, y, z, repeat)


def _cost(axis: Axis) -> int:
    if axis.field.startswith(LORA_AXIS):
        return 1
    return 1 + len(_COSTLY) - _COSTLY.index(axis.field) if axis.field in _COSTLY else 0


def label(axis: Axis, index: int) -> str:
    """What the grid calls a value of an axis."""
    value = axis.values[index]
    shown = f"{value:g}" if isinstance(value, float) else str(value)
    if axis.field in ("prompt", "prompt_replace"):
        return shown
    title = TITLES.get(axis.field) or f"LoRA {axis.field.removeprefix(LORA_AXIS)}"
    return f"{title}: {shown}"
