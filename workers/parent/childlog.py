"""Passes on a child's log line by line, and keeps its last lines as evidence for when the child dies."""

import sys
import threading
from collections import deque
from contextlib import suppress
from typing import IO

_LINES = 20
_LONGEST_LINE = 500


class ChildLog:
    """Reads a pipe to its end on a thread of its own."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe
        self._last: deque[str] = deque(maxlen=_LINES)
        self._thread = threading.Thread(target=self._run, name="tail", daemon=True)
        self._thread.start()

    def text(self) -> str:
        """The last lines, once the child is gone; a process that inherited its pipe is not waited for."""
        self._thread.join(1)
        return "\n".join(self._last)

    def _run(self) -> None:
        # Popen's pipe is unbuffered here, and would be read byte by byte.
        with self._pipe, open(self._pipe.fileno(), "rb", closefd=False) as lines:
            for line in lines:
                text = line.decode(errors="replace")
                # Were the reading to stop, the child's pipe would fill, and the child stop.
                with suppress(OSError):
                    sys.stderr.write(text)
                    sys.stderr.flush()
                self._last.append(text.rstrip()[:_LONGEST_LINE])
