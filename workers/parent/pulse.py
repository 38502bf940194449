"""The sign of life that a child gives its parent each second, through its stdout.

It distinguishes a process that hangs as a whole (a driver that holds the interpreter's lock, a SIGSTOP) from one
that only renders for long. Nothing else can: its own watches hang with it.
"""

import contextlib
import threading
import time
from typing import IO

_INTERVAL_SECONDS = 1.0


class Pulse:
    """The parent's end: reads the pipe until the child closes it."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe
        self._last = time.monotonic()
        threading.Thread(target=self._listen, name="pulse", daemon=True).start()

    @property
    def silent_seconds(self) -> float:
        return time.monotonic() - self._last

    def _listen(self) -> None:
        with self._pipe:
            while self._pipe.read(1):
                self._last = time.monotonic()


def beat(out: IO[bytes]) -> None:
    """The child's end: give signs of life for as long as the parent reads them. Call it on a thread."""
    with contextlib.suppress(OSError, ValueError):
        while True:
            out.write(b".")
            out.flush()
            time.sleep(_INTERVAL_SECONDS)
