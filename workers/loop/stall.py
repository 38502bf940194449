"""Notices a render that makes no step any more: a hung driver, a dead file system."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

RenderShape = tuple[str, int, int]
"""(family, width, height): what decides how long a step takes on this device."""

_TIMES_SLOWEST = 10.0
# Nothing is known yet, or weights are being read from a slow disk: more patience.
_TIMES_AT_FIRST = 5.0
# What a slow line brings in a second: weights may have to come from the store first.
_FETCHED_BYTES_PER_SECOND = 4 * 2**20
_LOOK_SECONDS = 0.5


class StallWatch:
    """Calls `on_stall` from a thread of its own when a render rests for longer than its shape ever did.

    The bound is `patience_seconds`, or ten times the slowest step seen of the same shape if that is more;
    five times the patience while nothing is known of the shape, or before the first step, which also waits
    for weights that are fetched.
    """

    def __init__(self, patience_seconds: float, on_stall: Callable[[str], None]) -> None:
        self._patience_seconds = patience_seconds
        self._on_stall = on_stall
        self._slowest: dict[RenderShape, float] = {}
        self._shape: RenderShape | None = None
        self._steps = 0
        self._fetch_seconds = 0.0
        self._since = time.monotonic()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="stall-watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(2)

    @contextmanager
    def watch(self, shape: RenderShape, *, fetched_bytes: int = 0) -> Iterator[None]:
        """Watch one render, from before its first step to its end; so much may have to be fetched for it."""
        self._fetch_seconds = fetched_bytes / _FETCHED_BYTES_PER_SECOND
        self._shape, self._steps, self._since = shape, 0, time.monotonic()
        try:
            yield
        finally:
            self._shape = None

    def step(self) -> None:
        """A step was made."""
        now = time.monotonic()
        if self._steps and self._shape is not None:
            self._slowest[self._shape] = max(self._slowest.get(self._shape, 0.0), now - self._since)
        self._steps, self._since = self._steps + 1, now

    def bound_seconds(self, shape: RenderShape, steps: int) -> float:
        """How long a render of a shape may rest after so many steps."""
        slowest = self._slowest.get(shape)
        if steps == 0:
            return self._patience_seconds * _TIMES_AT_FIRST + self._fetch_seconds
        if slowest is None:
            return self._patience_seconds * _TIMES_AT_FIRST
        return max(self._patience_seconds, _TIMES_SLOWEST * slowest)

    def _run(self) -> None:
        while not self._stopped.wait(_LOOK_SECONDS):
            self._look()

    def _look(self) -> None:
        shape, steps = self._shape, self._steps
        rested = time.monotonic() - self._since
        if shape is not None and rested > self.bound_seconds(shape, steps):
            self._shape = None
            self._on_stall(f"stalled: no step for {rested:.0f} s after step {steps}")
