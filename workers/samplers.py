"""From a sampler's name to a fresh diffusers scheduler."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import diffusers

from farm.samplers import SAMPLERS


@contextmanager
def sampling(pipeline: Any, sampler: str) -> Iterator[None]:
    """Give a pipeline the scheduler of a sampler for one call, and then its checkpoint's own again.

    A scheduler's config holds what others have set: made one from another, Euler after Karras is Karras too.
    """
    own = pipeline.scheduler
    pipeline.scheduler = make_scheduler(sampler, own.config)
    try:
        yield
    finally:
        pipeline.scheduler = own


def make_scheduler(sampler: str, checkpoint_config: Any) -> Any:
    """A new scheduler for one pipeline call: schedulers are stateful, and building one takes under 1 ms.

    What the checkpoint says of its noise schedule (betas, prediction type) stands; what the sampler says wins.
    """
    entry = SAMPLERS[sampler]
    return getattr(diffusers, entry.scheduler).from_config(checkpoint_config, **entry.settings)
