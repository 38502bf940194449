"""From a sampler's name to a fresh diffusers scheduler."""

from typing import Any

import diffusers

from farm.samplers import SAMPLERS


def make_scheduler(sampler: str, checkpoint_config: Any) -> Any:
    """A new scheduler for one pipeline call: schedulers are stateful, and building one takes under 1 ms.

    What the checkpoint says of its noise schedule (betas, prediction type) stands; what the sampler says wins.
    """
    entry = SAMPLERS[sampler]
    return getattr(diffusers, entry.scheduler).from_config(checkpoint_config, **entry.settings)
