"""What the submit form offers: names registered in this farm, and the words of the settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from sqlalchemy.orm import Session

from farm.intake import snippets
from farm.intake.request import SWEPT
from farm.reports import weights
from farm.reports.shapes import CheckpointReport
from farm.spec.families import FAMILIES
from farm.spec.fields import HiresUpscaler, ImageFormat, InpaintArea, MaskedContent, ResizeMode, UpscaleMethod
from farm.spec.modes import MODES
from farm.spec.samplers import AUTOMATIC, SAMPLERS, SCHEDULE_TYPES
from farm.spec.settingnames import TITLES
from farm.weights import addons, checkpoints

Option = tuple[str, str]
"""A value, and what people read."""

_NEEDS = {"size": "width", "hires.strength": "hires", "prompt_replace": "prompt"}


@dataclass(frozen=True)
class Choices:
    """The options of every select of one mode, and what the page's scripts fill in."""

    checkpoints: Sequence[CheckpointReport]
    vaes: Sequence[Option]
    loras: Sequence[str]
    embeddings: Sequence[str]
    styles: Sequence[str]
    axes: Sequence[Option]

    titles = TITLES
    samplers = tuple((name, name) for name in SAMPLERS)
    schedule_types = tuple((name, name) for name in SCHEDULE_TYPES)
    formats = tuple((name, name) for name in get_args(ImageFormat))
    dynamic_prompts = (
        ("random", "One choice for each image, by its seed"),
        ("all", "All combinations"),
        ("off", "Leave them as they are written"),
    )
    combine = (("product", "Every value with every other"), ("zip", "Side by side, first with first"))

    @property
    def checkpoint_options(self) -> Sequence[Option]:
        return [(found.name, f"{found.name} ({found.family})") for found in self.checkpoints]

    @property
    def for_scripts(self) -> dict[str, Any]:
        """Schedule types by sampler, and by checkpoint its side in pixels, what suits it and what is said of it."""
        return {
            "schedule_types": {name: [AUTOMATIC, *sampler.schedules] for name, sampler in SAMPLERS.items()},
            "checkpoints": {
                found.name: {
                    "side": FAMILIES[found.family].side,
                    "suggestions": found.suggestions or {},
                    "note": found.note,
                }
                for found in self.checkpoints
            },
        }


_TOLD = {
    "stretch": "just resize",
    "crop": "crop and resize",
    "fill": "resize and fill",
    "latent": "just resize, in latents",
    "whole": "whole picture",
    "masked": "only what is masked",
}


def _words_of(annotated: Any) -> list[Option]:
    """The options of a setting that knows only some words."""
    return [(word, _TOLD.get(word, word.replace("_", " "))) for word in get_args(get_args(annotated)[0])]


WORDS: Mapping[str, Sequence[Option]] = {
    "resize_mode": _words_of(ResizeMode),
    "masked_content": [(word, word.replace("_", " ")) for word in get_args(get_args(MaskedContent)[0])],
    "area": _words_of(InpaintArea),
    "hires.upscaler": _words_of(HiresUpscaler),
    "upscaler": _words_of(UpscaleMethod),
}


def read_choices(session: Session, mode: str) -> Choices:
    """What this farm offers to a job of a mode."""
    loras = list(addons.by_name(session, "lora"))
    axes = [(name, TITLES[name]) for name in SWEPT if _NEEDS.get(name, name) in MODES[mode].takes]
    return Choices(
        checkpoints=weights.checkpoint_reports(checkpoints.by_name(session).values()),
        vaes=[(vae.name, f"{vae.name} ({vae.family})") for vae in addons.by_name(session, "vae").values()],
        loras=loras,
        embeddings=list(addons.by_name(session, "embedding")),
        styles=[style.name for style in snippets.all_styles(session)],
        axes=[*axes, *((f"lora:{name}", f"Weight of LoRA {name}") for name in loras)],
    )
