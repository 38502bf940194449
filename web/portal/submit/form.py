"""The submit form: its fields with their usual values, and the request that they make."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from werkzeug.datastructures import MultiDict

from farm.errors import FieldProblem
from farm.intake.promptfiles.recognise import no_prompts
from farm.spec.hires import Hires
from farm.spec.modes import MODES
from web.portal.submit import axes
from web.portal.submit.problems import group_by_field

_JOB = {
    "prompts": "",
    "images_per_prompt": "1",
    "dynamic_prompts": "random",
    "combine": "product",
    "name": "",
    "project": "",
    "priority": "50",
    "pool": "default",
    "not_before": "",
    "deadline": "",
    "class": "",
    "max_devices": "",
}
# What is left open here is the input's, or the checkpoint's own.
_OPEN = {"width": "", "height": "", "aspect": "", "scale": ""}
_SHAPED = frozenset({"prompt", "styles", "hires"})
_SWITCHES = frozenset(
    name for mode in MODES.values() for name, known in mode.spec.model_fields.items() if known.annotation is bool
)
# A file that was pasted may be wrong in each of its lines.
_MOST_LINES = 20
_MOMENTS = frozenset({"not_before", "deadline"})
_HIRES = {f"hires.{name}": "" for name in ("scale", "width", "height", "num_inference_steps")} | {
    "hires.strength": str(Hires.model_fields["strength"].default),
    "hires.upscaler": Hires.model_fields["upscaler"].default,
}


def usual_values(mode: str) -> dict[str, str]:
    """The fields of a mode's form and what stands in them at first; an empty one has its usual value."""
    fields, takes = MODES[mode].spec.model_fields, MODES[mode].takes
    taken = takes - _SHAPED
    settings = {name: as_text(fields[name].default) for name in taken if name in fields and name not in _OPEN}
    opened = {name: text for name, text in _OPEN.items() if name in taken}
    hires = _HIRES if "hires" in takes else {}
    return {**settings, **opened, **hires, **axes.EMPTY, **_JOB}


def as_text(value: object) -> str:
    """A value as it stands in a field; what is no text, number or truth stands in none."""
    if isinstance(value, bool):
        return "on" if value else ""
    if isinstance(value, str | int | float):
        return str(value).removesuffix(".0") if isinstance(value, float) else str(value)
    return ""


@dataclass(frozen=True)
class SubmitForm:
    """The form as it is shown: its values, and what is wrong, by field; the rest under the empty name.

    `image` and `mask` are ids of uploads. `is_fresh` says that nothing was filled in yet; `notes`
    say what the form could not take over from another job.
    """

    mode: str
    key: str
    values: Mapping[str, str]
    styles: tuple[str, ...] = ()
    problems: Mapping[str, list[str]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    is_fresh: bool = False

    @property
    def usual(self) -> Mapping[str, str]:
        return usual_values(self.mode)

    def is_used(self, *prefixes: str) -> bool:
        """Whether any field of these names holds something unusual, or something wrong."""
        unusual = {name for name, usual in self.usual.items() if self.values[name] != usual}
        return any(name.startswith(prefixes) for name in unusual | self.problems.keys())

    def with_problems(self, problems: list[FieldProblem]) -> "SubmitForm":
        return replace(self, problems=group_by_field(problems, self.values))

    def read(self) -> tuple[dict[str, Any], list[FieldProblem]]:
        """What to submit, and what is wrong with prompts and axes: each line a prompt, nothing for empty fields."""
        slots = axes.read(self.values)
        request = {
            "mode": self.mode,
            "prompts": self._prompts(),
            "styles": list(self.styles) or None,
            "hires": self._hires(),
            "axes": [slot.axis for slot in slots if slot.axis],
            **{name: _as_sent(name, text) for name, text in self._plain() if text},
        }
        return request, [*self._no_prompts(), *(problem for slot in slots for problem in slot.problems)]

    def _plain(self) -> list[tuple[str, str]]:
        return [item for item in self.values.items() if item[0] != "prompts" and "." not in item[0]]

    def _prompts(self) -> list[str]:
        """Only a picture can do without words."""
        lines = [line.strip() for line in self.values["prompts"].splitlines() if line.strip()]
        return lines or ([""] if "image" in self.values else [])

    def _no_prompts(self) -> list[FieldProblem]:
        """Lines of a file that was pasted: they would be rendered as they are written."""
        text = "\n".join(self.values["prompts"].splitlines())
        found = no_prompts(text)
        more = [f"{len(found) - _MOST_LINES:,} more lines are no prompts"] if len(found) > _MOST_LINES else []
        named = [f"line {mistaken.line} {mistaken}" for mistaken in found[:_MOST_LINES]]
        return [FieldProblem("prompts", message) for message in (*named, *more)]

    def _hires(self) -> dict[str, str] | None:
        """Scale, size or steps turn it on; the other fields are filled in beforehand."""
        given = {name: self.values.get(name, "") for name in _HIRES}
        if not any(given[name] for name, usual in _HIRES.items() if not usual):
            return None
        return {name.removeprefix("hires."): text for name, text in given.items() if text}


def _as_sent(name: str, text: str) -> str | bool:
    """Switches are true; moments are UTC, which a browser's field for them does not say."""
    if name in _SWITCHES:
        return True
    return f"{text}Z" if name in _MOMENTS else text


def empty_form(mode: str, key: str) -> SubmitForm:
    return SubmitForm(mode, key, usual_values(mode), is_fresh=True)


def sent_form(mode: str, key: str, sent: MultiDict[str, str]) -> SubmitForm:
    """The form as a browser sent it; a prompt keeps its inner spaces, everything else is trimmed."""
    values = {name: sent.get(name, usual).strip() for name, usual in usual_values(mode).items()}
    return SubmitForm(mode, key, values, tuple(sent.getlist("styles")))


def switch_mode(form: SubmitForm, mode: str) -> SubmitForm:
    """The form of another mode with what was filled in before; usual values become those of the other mode."""
    filled = {name: text for name, text in form.values.items() if text != form.usual[name]}
    usual = usual_values(mode)
    return replace(form, mode=mode, values={name: filled.get(name, text) for name, text in usual.items()})
