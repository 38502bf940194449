"""The problems of a request, by the field of the submit form that has to change."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

from farm.errors import FieldProblem
from web.portal.submit import axes

_PROMPT_PATH = re.compile(r"prompts\[(\d+)\](?:\.(\w+(?:\.\w+)?))?$")

# Paths that have a field of another name here, or none but a group of fields.
_ELSEWHERE = {"hires": "hires.scale", "size": "width", "prompt_replace": "prompts", "prompt": "prompts"}
_GROUPS = frozenset({"axes", "styles", "read_file"})


def group_by_field(problems: list[FieldProblem], values: Mapping[str, str]) -> Mapping[str, list[str]]:
    """The messages by form field, each once; under the empty name those of no field."""
    # Each message is kept once, in order: there may be thousands.
    found: dict[str, dict[str, None]] = defaultdict(dict)
    slots = axes.read(values)
    for problem in problems:
        name, message = _place(problem, values, slots)
        found[name][message] = None
    return {name: list(messages) for name, messages in found.items()}


def _place(problem: FieldProblem, values: Mapping[str, str], slots: Sequence[axes.Slot]) -> tuple[str, str]:
    """Which form field a problem belongs to. A setting checked with each prompt has but one field here."""
    if problem.field in values or problem.field in _GROUPS:
        return problem.field, problem.message
    if (swept := axes.find_field(problem.field, slots)) is not None:
        name, value = swept
        return name, f"{value}: {problem.message}" if value and value not in problem.message else problem.message
    if (path := _PROMPT_PATH.match(problem.field)) is not None:
        if path[2] in values or path[2] in _GROUPS:
            return path[2], problem.message
        return "prompts", f"prompt {int(path[1]) + 1}: {problem.message}"
    if (name := _ELSEWHERE.get(problem.field.partition("[")[0], "")) in values:
        return name, problem.message
    return "", f"{problem.field}: {problem.message}"
