"""What a worker leaves alone for a while, since the store does not give it what that needs."""

import time
from collections.abc import Callable

_SHORTEST_PAUSE_SECONDS = 2.0
_LONGEST_PAUSE_SECONDS = 30.0
_FORGOTTEN_SECONDS = 300.0


class AvoidedWork:
    """The batch keys whose reads failed. They share one pause, which doubles with each further failure.

    After the pause one of them is tried: if it fails all wait again, and if it renders the store is back.
    So an outage costs a try now and then, however much waits for the store, and what needs no read goes on.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._keys: set[str] = set()
        self._failures = 0
        self._until = 0.0

    def now(self) -> frozenset[str]:
        """The batch keys that are not to be claimed at this moment."""
        return frozenset(self._keys) if self._clock() < self._until else frozenset()

    @property
    def is_waiting(self) -> bool:
        """Whether something is left alone at this moment."""
        return bool(self.now())

    def note_failure(self, key: str) -> None:
        if self._clock() > self._until + _FORGOTTEN_SECONDS:
            # Of an earlier outage: others have rendered since what was left to them.
            self._forget()
        self._keys.add(key)
        pause = min(_LONGEST_PAUSE_SECONDS, _SHORTEST_PAUSE_SECONDS * 2.0 ** min(self._failures, 10))
        self._failures += 1
        self._until = self._clock() + pause

    def note_success(self, key: str) -> None:
        """A batch was rendered. Where it needed no read, that says nothing of the store."""
        if key in self._keys:
            self._forget()

    def _forget(self) -> None:
        self._keys.clear()
        self._failures = 0
