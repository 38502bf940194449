"""The pauses between tries while the store or Postgres is away."""

from threading import Event

_SHORTEST_SECONDS = 0.2
_LONGEST_SECONDS = 5.0


class Pause:
    """Waits ever longer from one failure to the next; a success begins anew."""

    def __init__(self, ending: Event) -> None:
        """No pause outlasts `ending`."""
        self._ending = ending
        self._seconds = _SHORTEST_SECONDS
        self._is_held_up = False

    @property
    def is_held_up(self) -> bool:
        """Whether the last try failed."""
        return self._is_held_up

    def wait(self) -> None:
        """A try failed."""
        self._is_held_up = True
        self._ending.wait(self._seconds)
        self._seconds = min(self._seconds * 2, _LONGEST_SECONDS)

    def reset(self) -> None:
        """A try succeeded."""
        self._is_held_up = False
        self._seconds = _SHORTEST_SECONDS
