"""The samplers and schedule types that users name, as AUTOMATIC1111's WebUI does, and what each is in diffusers.

The tables are plain data so that the portal can check a name without torch; `workers.sampling.schedulers` builds
the scheduler objects. What has no equal in diffusers is not in the tables: it is refused, never swapped.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from farm.spec.names import nearest

AUTOMATIC = "Automatic"

SCHEDULE_TYPES: Mapping[str, Mapping[str, Any]] = {
    # What the WebUI would choose: the sampler's own default.
    AUTOMATIC: {},
    "Uniform": {"timestep_spacing": "linspace"},
    "Normal": {"timestep_spacing": "linspace"},
    "Karras": {"use_karras_sigmas": True, "timestep_spacing": "linspace"},
    "Exponential": {"use_exponential_sigmas": True, "timestep_spacing": "linspace"},
    # Exponential raised to rho, which is 1 in the WebUI.
    "Polyexponential": {"use_exponential_sigmas": True, "timestep_spacing": "linspace"},
    "SGM Uniform": {"timestep_spacing": "trailing"},
    "Simple": {"timestep_spacing": "trailing"},
    "DDIM": {"timestep_spacing": "leading", "steps_offset": 1},
    "Beta": {"use_beta_sigmas": True, "timestep_spacing": "linspace"},
}
"""The settings of a diffusers scheduler that a schedule type stands for.

Equal means: the WebUI's noise levels, to within 1.5 of the 1000 training steps, which is how both round. KL
Optimal, Align Your Steps and Turbo have no such settings in diffusers.
"""

_TRAILING = ("SGM Uniform", "Simple")
_CURVED = ("Karras", "Exponential", "Polyexponential", "Beta")
_SPACED = ("Uniform", "Normal", *_TRAILING, "DDIM")
_ALL = (*_SPACED, *_CURVED)
# Their schedulers divide the time into one step more and leave the last out: neither Uniform nor DDIM.
_MULTISTEP = (*_TRAILING, *_CURVED)


@dataclass(frozen=True)
class Sampler:
    """One sampler: its WebUI name, the scheduler class with its settings, and the schedule types that one knows.

    `default_schedule` is what Automatic means; where it is Automatic too, the sampler has one of its own
    without a name. `aliases` are the WebUI's older names. `is_seeded_apart` marks a scheduler that makes its
    own noise and must be given the seed of each image. `calls_per_step` counts the UNet calls of one step.
    """

    name: str
    scheduler: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    schedules: tuple[str, ...] = _ALL
    default_schedule: str = "Uniform"
    max_steps: int = 150
    is_seeded_apart: bool = False
    calls_per_step: int = 1
    aliases: tuple[str, ...] = ()


_SDE = {"algorithm_type": "sde-dpmsolver++"}

# One difference stays: the WebUI leaves out the next-to-last noise level of DPM2, DPM2 a and DPM++ 3M SDE.
_TABLE = (
    Sampler(
        "DPM++ 2M",
        "DPMSolverMultistepScheduler",
        schedules=_MULTISTEP,
        default_schedule="Karras",
        aliases=("k_dpmpp_2m",),
    ),
    # Its noise is drawn by a Brownian tree of its own: without the images' seeds every run is another picture.
    Sampler(
        "DPM++ SDE",
        "DPMSolverSDEScheduler",
        default_schedule="Karras",
        is_seeded_apart=True,
        calls_per_step=2,
        aliases=("k_dpmpp_sde",),
    ),
    Sampler(
        "DPM++ 2M SDE",
        "DPMSolverMultistepScheduler",
        _SDE,
        schedules=_MULTISTEP,
        default_schedule="Exponential",
        aliases=("k_dpmpp_2m_sde",),
    ),
    Sampler(
        "DPM++ 2M SDE Heun",
        "DPMSolverMultistepScheduler",
        {**_SDE, "solver_type": "heun"},
        schedules=_MULTISTEP,
        default_schedule="Exponential",
        aliases=("k_dpmpp_2m_sde_heun",),
    ),
    # Below 15 steps diffusers would end at a lower order, the WebUI does not.
    Sampler(
        "DPM++ 3M SDE",
        "DPMSolverMultistepScheduler",
        {**_SDE, "solver_order": 3, "lower_order_final": False},
        schedules=_MULTISTEP,
        default_schedule="Exponential",
        aliases=("k_dpmpp_3m_sde",),
    ),
    Sampler(
        "Euler a", "EulerAncestralDiscreteScheduler", schedules=_SPACED, aliases=("k_euler_a", "k_euler_ancestral")
    ),
    Sampler("Euler", "EulerDiscreteScheduler", aliases=("k_euler",)),
    Sampler("LMS", "LMSDiscreteScheduler", aliases=("k_lms",)),
    Sampler("Heun", "HeunDiscreteScheduler", calls_per_step=2, aliases=("k_heun",)),
    Sampler("DPM2", "KDPM2DiscreteScheduler", default_schedule="Karras", calls_per_step=2, aliases=("k_dpm_2",)),
    Sampler(
        "DPM2 a",
        "KDPM2AncestralDiscreteScheduler",
        default_schedule="Karras",
        calls_per_step=2,
        aliases=("k_dpm_2_a",),
    ),
    # clip_sample defaults to True where a checkpoint's config leaves it out, and then ruins latents. Not with
    # Uniform: each step goes on by whole parts of the training steps, which that does not.
    Sampler(
        "DDIM",
        "DDIMScheduler",
        {"clip_sample": False, "set_alpha_to_one": False},
        schedules=(*_TRAILING, "DDIM"),
        default_schedule="DDIM",
    ),
    Sampler(
        "PLMS",
        "PNDMScheduler",
        {"skip_prk_steps": True, "set_alpha_to_one": False},
        schedules=("DDIM",),
        default_schedule="DDIM",
    ),
    # The WebUI's variant of it, which ends above zero and would not bear it.
    Sampler(
        "UniPC",
        "UniPCMultistepScheduler",
        {
            "solver_order": 3,
            "solver_type": "bh1",
            "timestep_spacing": "linspace",
            "final_sigmas_type": "sigma_min",
        },
        schedules=(),
        default_schedule=AUTOMATIC,
    ),
    # LCM schedules are cut from 50 distillation steps; diffusers refuses more.
    Sampler("LCM", "LCMScheduler", schedules=(), default_schedule=AUTOMATIC, max_steps=50),
)

SAMPLERS: Mapping[str, Sampler] = {sampler.name: sampler for sampler in _TABLE}
DEFAULT_SAMPLER = "DPM++ 2M"

_OF_KARRAS = "_ka"
_ALIASES = {alias: sampler.name for sampler in _TABLE for alias in sampler.aliases}


def known_sampler(name: str) -> str:
    """Return the name unchanged, or raise ValueError with the nearest name: never swap one for another."""
    return _known(name, "sampler", SAMPLERS)


def known_schedule_type(name: str) -> str:
    return _known(name, "schedule type", SCHEDULE_TYPES)


def _known(name: str, what: str, table: Mapping[str, Any]) -> str:
    if name in table:
        return name
    near = nearest(name, table, likeness=0.5)
    hint = f"did you mean {near!r}? " if near else ""
    raise ValueError(f"unknown {what} {name!r}; {hint}Known: {', '.join(table)}")


def check_pair(sampler: str, schedule_type: str) -> None:
    """Raise ValueError where diffusers has no scheduler for a sampler with this schedule type."""
    known = (AUTOMATIC, *SAMPLERS[sampler].schedules)
    if schedule_type not in known:
        raise ValueError(f"schedule_type: {sampler} has no equal with {schedule_type}; it takes {', '.join(known)}")


def schedule_of(sampler: str, schedule_type: str) -> str:
    """What a schedule type means for a sampler: Automatic is the sampler's own."""
    return SAMPLERS[sampler].default_schedule if schedule_type == AUTOMATIC else schedule_type


def split_name(data: Any) -> Any:
    """Split the WebUI's older names, such as `DPM++ 2M Karras` or `k_lms_ka`, into sampler and schedule type.

    `data` is a mapping of fields as it was sent; what is no mapping, or names no such sampler, is
    returned as it is.
    """
    name = data.get("sampler") if isinstance(data, Mapping) else None
    if not isinstance(name, str) or name in SAMPLERS:
        return data
    if name in _ALIASES:
        return {**data, "sampler": _ALIASES[name]}
    sampler, schedule_type = _older_name(name)
    if sampler is None or data.get("schedule_type") not in (None, AUTOMATIC, schedule_type):
        return data
    return {**data, "sampler": sampler, "schedule_type": schedule_type}


def _older_name(name: str) -> tuple[str | None, str]:
    """The sampler, or None, and the schedule type that were one name before the WebUI's release 1.9."""
    alias = _ALIASES.get(name.removesuffix(_OF_KARRAS))
    if alias and name.endswith(_OF_KARRAS):
        return alias, "Karras"
    for schedule_type in SCHEDULE_TYPES:
        sampler = name.removesuffix(f" {schedule_type}")
        if sampler != name and sampler in SAMPLERS:
            return sampler, schedule_type
    return None, AUTOMATIC
