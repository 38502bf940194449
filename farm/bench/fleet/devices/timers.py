"""Timers that a few threads serve: what is due first is called first."""

import heapq
import itertools
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue

Handler = Callable[[float], None]
"""What is called when a timer is due, with the moment at which it was."""

_LONGEST_WAIT_SECONDS = 1.0


class Timers:
    """A heap of timers on the monotonic clock: one thread watches it, `threads` others call the handlers.

    `on_end` is called by each of these threads when it ends.
    """

    def __init__(self, threads: int, on_end: Callable[[], None] = lambda: None) -> None:
        self._on_end = on_end
        self._heap: list[tuple[float, int, Handler]] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._is_closed = False
        self._due: SimpleQueue[tuple[float, Handler] | None] = SimpleQueue()
        self._threads = [threading.Thread(target=self._serve, daemon=True) for _ in range(threads)]
        self._watch = threading.Thread(target=self._hand_out, daemon=True)

    def start(self) -> None:
        for thread in (self._watch, *self._threads):
            thread.start()

    def set(self, due: float, handler: Handler) -> None:
        """Have the handler called once this moment has come."""
        with self._changed:
            heapq.heappush(self._heap, (due, next(self._numbers), handler))
            if self._heap[0][0] == due:
                self._changed.notify()

    def close(self) -> None:
        """End once the handlers that are due have been called; what is not due yet is forgotten."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._watch.join()
        for _ in self._threads:
            self._due.put(None)
        for thread in self._threads:
            thread.join()

    def _hand_out(self) -> None:
        with self._changed:
            while not self._is_closed:
                wait = self._heap[0][0] - time.monotonic() if self._heap else _LONGEST_WAIT_SECONDS
                if wait <= 0:
                    due, _, handler = heapq.heappop(self._heap)
                    self._due.put((due, handler))
                else:
                    self._changed.wait(min(wait, _LONGEST_WAIT_SECONDS))

    def _serve(self) -> None:
        while (found := self._due.get()) is not None:
            due, handler = found
            handler(due)
        self._on_end()
