"""From a sampler's name to a fresh diffusers scheduler."""

from collections.abc import Mapping, Sequence
from inspect import signature
from typing import Any

import diffusers

from farm.errors import CannotRender
from farm.samplers import SAMPLERS, SCHEDULE_TYPES, schedule_of

# What a checkpoint was trained with. Its config holds more, such as another sampler's Karras schedule.
_TRAINED = (
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "prediction_type",
)
_ZERO_SNR = "rescale_betas_zero_snr"


def make_scheduler(
    sampler: str,
    schedule_type: str,
    checkpoint_config: Mapping[str, Any],
    seeds: Sequence[int],
    steps: int | None = None,
) -> Any:
    """A new scheduler for one batch: schedulers are stateful. Building one takes 0.2 ms, for DPM2 130 ms.

    `checkpoint_config` is that of the checkpoint's own scheduler; only what it says of the training counts.
    `seeds` are those of the batch's images, in order. `steps` matters where it is 1: diffusers puts a single
    step at the end of the noise where the WebUI has it at the start. Raises CannotRender where the sampler
    does not know the checkpoint's noise schedule.
    """
    entry = SAMPLERS[sampler]
    scheduler = getattr(diffusers, entry.scheduler)
    settings = {**_trained(checkpoint_config, sampler, scheduler), **_spacing(sampler, schedule_type, steps)}
    if entry.is_seeded_apart:
        settings["noise_sampler_seed"] = list(seeds)
    return scheduler(**settings, **entry.settings)


def _trained(checkpoint_config: Mapping[str, Any], sampler: str, scheduler: Any) -> dict[str, Any]:
    trained = {name: checkpoint_config[name] for name in _TRAINED if name in checkpoint_config}
    if not checkpoint_config.get(_ZERO_SNR):
        return trained
    if _ZERO_SNR not in signature(scheduler).parameters:
        raise CannotRender(f"The checkpoint starts from pure noise (zero SNR), which {sampler} does not know.")
    return {**trained, _ZERO_SNR: True}


def _spacing(sampler: str, schedule_type: str, steps: int | None) -> Mapping[str, Any]:
    settings = SCHEDULE_TYPES[schedule_of(sampler, schedule_type)]
    if steps == 1 and settings.get("timestep_spacing") == "linspace":
        return {"timestep_spacing": "trailing"}
    return settings
