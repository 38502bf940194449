"""The samplers users name, as AUTOMATIC1111's WebUI names them, and the diffusers scheduler each means.

The table is plain data so that the portal can check a name without torch; `workers.samplers` builds
the scheduler objects.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any


@dataclass(frozen=True)
class Sampler:
    """One sampler: its WebUI name and schedule type, and the scheduler class with its settings."""

    name: str
    scheduler: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    webui_name: str | None = None
    schedule_type: str | None = None
    max_steps: int = 150

    @property
    def infotext_name(self) -> str:
        return self.webui_name or self.name


_TABLE = (
    Sampler("Euler", "EulerDiscreteScheduler"),
    Sampler("Euler a", "EulerAncestralDiscreteScheduler"),
    Sampler("DPM++ 2M", "DPMSolverMultistepScheduler"),
    Sampler(
        "DPM++ 2M Karras",
        "DPMSolverMultistepScheduler",
        {"use_karras_sigmas": True},
        webui_name="DPM++ 2M",
        schedule_type="Karras",
    ),
    # clip_sample defaults to True where a checkpoint's config leaves it out, and then ruins latents.
    Sampler("DDIM", "DDIMScheduler", {"clip_sample": False, "set_alpha_to_one": False}),
    Sampler("UniPC", "UniPCMultistepScheduler"),
    # LCM schedules are cut from 50 distillation steps; diffusers refuses more.
    Sampler("LCM", "LCMScheduler", max_steps=50),
)

SAMPLERS: Mapping[str, Sampler] = {sampler.name: sampler for sampler in _TABLE}
DEFAULT_SAMPLER = "DPM++ 2M Karras"


def known_sampler(name: str) -> str:
    """Return the name unchanged, or raise ValueError with the nearest names: never swap one for another."""
    if name in SAMPLERS:
        return name
    near = get_close_matches(name, SAMPLERS, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ValueError(f"unknown sampler {name!r}; {hint}Known: {', '.join(SAMPLERS)}")
