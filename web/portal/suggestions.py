"""The suggested settings of a checkpoint, as pages show them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from web.portal.form import as_text

_SETTINGS: Mapping[str, str] = {
    "sampler": "Sampler",
    "schedule_type": "Schedule type",
    "num_inference_steps": "Steps",
    "guidance_scale": "CFG scale",
    "clip_skip": "Clip skip",
    "vae": "VAE",
    "width": "Width",
    "height": "Height",
}


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
        [(title, as_text(suggestions[name])) for name, title in _SETTINGS.items() if name in suggestions],
        [str(word) for word in suggestions.get("trigger_words", ())],
        named.get("name"),
        named.get("note"),
    )
