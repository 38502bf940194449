"""A row's settings by whatever names they stand in a file, and the fields of a request that they come to."""

import re
from collections.abc import Mapping
from typing import Any

from farm.errors import FieldProblem
from farm.formats.delimited import canonical
from farm.intake.promptfiles import webui
from farm.intake.promptfiles.entries import Misread
from farm.intake.request import PromptRow
from farm.spec.settingnames import OTHER_NAMES

ALIASES: Mapping[str, str] = {
    name: field for name, field in OTHER_NAMES.items() if field.partition(".")[0] in PromptRow.model_fields
}
"""The fields of a row by other names."""

TEXTS = frozenset(
    {
        *("prompt", "negative_prompt", "styles", "checkpoint", "vae", "sampler", "schedule_type"),
        *("image", "mask", "aspect"),
    }
)
"""The fields that hold what anybody may write, however like a number it looks."""

_PASS = "hires."
_DECIMAL_COMMA = re.compile(r"\A([-+]?\d+),(\d+)\Z")


def translate_names(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a row by the names of a request; those that mean nothing stay, for the row's check to refuse.

    Raises Misread where two say the same, and for what is known of the WebUI and not done here.
    """
    problems: list[FieldProblem] = []
    own: dict[str, Any] = {}
    foreign: dict[str, Any] = {}
    said: dict[str, str] = {}
    for written, value in fields.items():
        name = canonical(written)
        if name in webui.SETTINGS:
            foreign[name] = value
            continue
        name = ALIASES.get(name, name)
        if name in said:
            problems.append(FieldProblem(name, f"is said twice, by `{said[name]}` and by `{written}`"))
        said[name] = written
        own[name] = value
    problems += webui.apply(own, foreign)
    if problems:
        raise Misread(problems)
    return _unfolded(own)


def with_points(fields: Mapping[str, str]) -> dict[str, str]:
    """Fields whose numbers have decimal commas, as spreadsheets of half the world write them, with points."""
    return {
        name: text if own_name(name) in TEXTS else _DECIMAL_COMMA.sub(r"\1.\2", text)
        for name, text in fields.items()
    }


def own_name(written: str) -> str:
    """What a request calls a field."""
    return ALIASES.get(canonical(written), canonical(written))


def _unfolded(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Styles in one text stand between bars, and a second pass in a table has a column for each setting."""
    hires = {name.removeprefix(_PASS): value for name, value in fields.items() if name.startswith(_PASS)}
    rest = {name: value for name, value in fields.items() if not name.startswith(_PASS)}
    if isinstance(styles := rest.get("styles"), str):
        rest["styles"] = [style.strip() for style in styles.split("|") if style.strip()]
    if hires and "hires" in rest:
        raise Misread.at("hires", "is said twice, as a whole and by its settings")
    return {"hires": {ALIASES.get(name, name): value for name, value in hires.items()}, **rest} if hires else rest
