"""How long a worker may keep preferring the checkpoints that are resident on its device."""

import time
from collections.abc import Sequence

_MOST_BATCHES = 32
_LONGEST_SECONDS = 60.0


class Affinity:
    """Prefers the resident checkpoints among equals, bounded by count and by age.

    When a bound is reached one claim is made without the preference: what has waited longest is next,
    so a steady stream for these checkpoints cannot starve a job for another.
    """

    def __init__(self) -> None:
        self._batches = 0
        self._since = time.monotonic()

    def preference(self, residents: Sequence[int]) -> Sequence[int]:
        """The checkpoints to prefer in the next claim: the residents or, at a bound, none."""
        is_bound_reached = self._batches >= _MOST_BATCHES or time.monotonic() - self._since >= _LONGEST_SECONDS
        if is_bound_reached:
            self._batches, self._since = 0, time.monotonic()
            return ()
        return residents

    def note_claim(self) -> None:
        """A batch was claimed."""
        self._batches += 1
