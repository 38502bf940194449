"""The orders of the parent to a working child: there may be work, or it should end."""

import threading
import time

_SHORTEST_DELIVERY_SECONDS = 1.0


class Orders:
    """The parent's orders, as state that the render loop reads."""

    def __init__(self, drain_seconds: float) -> None:
        self._drain_seconds = drain_seconds
        self._wake = threading.Event()
        self._end = threading.Event()
        self._drain_at: float | None = None

    def ring(self) -> None:
        """There may be work."""
        self._wake.set()

    def drain(self) -> None:
        """Claim nothing more; finish what renders if that takes no longer than the drain time."""
        if self._drain_at is None:
            self._drain_at = time.monotonic() + self._drain_seconds
        self._wake.set()
        self._end.set()

    def wait_for_ring(self, seconds: float) -> bool:
        """Return when rung, or after so long: an idle worker also looks by itself. Says whether it was rung."""
        return self._wake.wait(seconds)

    def pause(self, seconds: float) -> None:
        """Wait so long whatever rings; only a drain ends it early."""
        self._end.wait(seconds)

    def clear_rings(self) -> None:
        """Forget rings so far. Call before looking for work, so that a ring during the look is not lost."""
        if not self.is_draining:
            self._wake.clear()

    @property
    def is_draining(self) -> bool:
        return self._drain_at is not None

    @property
    def must_stop_now(self) -> bool:
        return self._drain_at is not None and time.monotonic() >= self._drain_at

    @property
    def seconds_left(self) -> float:
        """How long delivery may still take at the end: what is left of the drain time, and half as much again."""
        left = self._drain_seconds if self._drain_at is None else max(0.0, self._drain_at - time.monotonic())
        return left + max(_SHORTEST_DELIVERY_SECONDS, self._drain_seconds / 2)
