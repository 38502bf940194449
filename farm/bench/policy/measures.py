"""What a simulated farm has measured: how long images and loads take."""

from farm.bench.policy.scenario import (
    BATCH,
    CACHED_LOAD_SECONDS,
    IMAGE_SECONDS,
    LARGE_PIXELS,
    LOAD_SECONDS,
    PIXELS,
    STEPS,
    Scenario,
)
from farm.dispatch.measured import Load, Loads, Speed, Speeds


def speeds_of(scenario: Scenario) -> Speeds:
    """The seconds of a step in full batches, the same on every kind of device."""
    classes = {made.class_ for made in scenario.made}
    return Speeds.of(
        Speed("sd15", pixels, class_, BATCH, IMAGE_SECONDS / STEPS)
        for pixels in (PIXELS, LARGE_PIXELS)
        for class_ in classes
    )


def loads_of(scenario: Scenario) -> Loads:
    """The seconds of a load of each checkpoint, from a host's cache and without."""
    return Loads.of(
        (
            Load(group.checkpoint, class_, is_cached, seconds)
            for group in scenario.groups
            for class_ in {made.class_ for made in scenario.made}
            for is_cached, seconds in ((True, CACHED_LOAD_SECONDS), (False, LOAD_SECONDS))
        ),
        {},
    )
