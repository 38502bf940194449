"""The submit form: from what was typed to a request, and from what is wrong with it back to the fields."""

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from farm.errors import FieldProblem
from farm.samplers import DEFAULT_SAMPLER

_FIELDS = {
    "prompts": "",
    "negative_prompt": "",
    "checkpoint": "",
    "sampler": DEFAULT_SAMPLER,
    "num_inference_steps": "20",
    "guidance_scale": "7",
    "width": "512",
    "height": "512",
    "seed": "",
    "images_per_prompt": "1",
    "name": "",
    "priority": "50",
}
_MAY_BE_EMPTY = ("checkpoint", "seed", "name")
_PROMPT_PATH = re.compile(r"prompts\[(\d+)\](?:\.(\w+))?$")


@dataclass(frozen=True)
class SubmitForm:
    """The form as it is shown: its values, and what is wrong, by field; the rest under the empty name."""

    values: Mapping[str, str]
    key: str
    problems: Mapping[str, list[str]] = field(default_factory=dict)

    @property
    def request(self) -> dict[str, Any]:
        """What to submit: each line a prompt, and nothing for what was left empty."""
        request: dict[str, Any] = {
            name: text for name, text in self.values.items() if text or name not in _MAY_BE_EMPTY
        }
        request["prompts"] = [line.strip() for line in self.values["prompts"].splitlines() if line.strip()]
        return request


def empty_form(key: str) -> SubmitForm:
    return SubmitForm(dict(_FIELDS), key)


def sent_form(sent: Mapping[str, str], key: str) -> SubmitForm:
    """The form as a browser sent it; a prompt keeps its inner spaces, everything else is trimmed."""
    return SubmitForm({name: sent.get(name, initial).strip() for name, initial in _FIELDS.items()}, key)


def by_field(problems: list[FieldProblem]) -> Mapping[str, list[str]]:
    """The messages by form field, each once."""
    found: dict[str, list[str]] = defaultdict(list)
    for problem in problems:
        name, message = _place(problem)
        if message not in found[name]:
            found[name].append(message)
    return found


def _place(problem: FieldProblem) -> tuple[str, str]:
    """Which form field a problem belongs to. A setting checked with each prompt has but one field here."""
    path = _PROMPT_PATH.match(problem.field)
    if path and path[2] in _FIELDS:
        return path[2], problem.message
    if path:
        return "prompts", f"prompt {int(path[1]) + 1}: {problem.message}"
    if problem.field in _FIELDS:
        return problem.field, problem.message
    return "", f"{problem.field}: {problem.message}"
