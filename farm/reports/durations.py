"""Expected lengths of time in plain words: `in about 2 to 4 min`."""

from math import ceil, floor

_SOON_SECONDS = 10.0
# From so many seconds on a unit is used, whose parts are of so many seconds.
_UNITS = ((2 * 86400, 86400, "days"), (2 * 3600, 3600, "h"), (90, 60, "min"), (0, 1, "s"))
_COARSE = 5
"""Seconds are told in fives."""


def in_about(low: float, high: float) -> str:
    """When something is expected that happens in `low` to `high` seconds: `in about 2 to 4 min`."""
    if high < _SOON_SECONDS:
        return "within seconds"
    size, unit = next((size, unit) for least, size, unit in _UNITS if high >= least)
    step = _COARSE if unit == "s" else 1
    first = floor(max(0.0, low) / size / step) * step
    last = max(ceil(high / size / step) * step, first)
    if first == last:
        return f"in about {last} {unit}"
    return f"in about {first} to {last} {unit}" if first else f"in at most {last} {unit}"
