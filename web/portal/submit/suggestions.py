"""The suggested settings of a checkpoint, as pages show them."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from farm.spec.settingnames import TITLES
from farm.weights.presets import Suggestions
from web.portal.submit.form import as_text

_SETTINGS = tuple(field.name for field in fields(Suggestions))


@dataclass(frozen=True)
class SuggestedSettings:
    """Settings with their titles, words for the prompt, and the licence with what it asks."""

    settings: list[tuple[str, str]]
    trigger_words: list[str]
    licence: str | None
    licence_note: str | None


def describe_suggestions(suggestions: Mapping[str, Any]) -> SuggestedSettings:
    licence = suggestions.get("licence")
    named = licence if isinstance(licence, Mapping) else {"name": licence}
    return SuggestedSettings(
        [(TITLES[name], as_text(suggestions[name])) for name in _SETTINGS if name in suggestions],
        [str(word) for word in suggestions.get("trigger_words", ())],
        named.get("name"),
        named.get("note"),
    )
