"""Where the settings of an image come from, so that a problem names the field to change."""

from collections.abc import Mapping
from dataclasses import dataclass

from farm.intake.request import JobRequest
from farm.intake.sweeps.pointsettings import given_settings
from farm.intake.sweeps.sweep import Point

# What an axis sets that is called otherwise.
_SWEPT: Mapping[str, tuple[str, ...]] = {"size": ("size", "width", "height")}


@dataclass(frozen=True)
class Origin:
    """One prompt of a request at one point of its sweep."""

    request: JobRequest
    row: int
    point: Point

    def field(self, name: str, *, is_combination: bool = False) -> str:
        """The path of a setting: on an axis, in the row, or of the job.

        What is wrong only in combination is named in the row, if that has any setting of its own. A LoRA
        that no axis names stands in the prompt.
        """
        for number, axis in enumerate(self.request.axes):
            if name in _SWEPT.get(axis.field, (axis.field,)):
                return f"axes[{number}].values[{self.point[number]}]"
        if name.startswith("lora:"):
            name = "prompt"
        row, head = self.request.prompts[self.row], name.partition(".")[0]
        is_own = head == "prompt" or getattr(row, head, None) is not None
        return f"prompts[{self.row}].{name}" if is_own or (is_combination and given_settings(row)) else name
