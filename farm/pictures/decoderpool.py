"""Decodes pictures in processes of their own, so that a hang, a crash or a lack of memory ends one process alone.

A picture of a kilobyte can take a decoder seconds. So a few processes decode at a time, each picture gets the
time and memory that its pixels may need, and the next picture is one of the user who was served least: slow
pictures of one user do not delay another's. A process has none of our environment, and decodes many pictures, since
a new one takes longer to start than most pictures take to decode. It ends when this process does: its socket is
closed then, and the picture it still decodes has a time limit.
"""

import atexit
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from farm.errors import Busy
from farm.pictures.decoderprocess import DecoderProcess
from farm.pictures.decoderqueue import QueuedPicture, choose_next, is_over_limit

LEAST_COST = 1_000_000
"""The cost of a small picture, in pixels."""

# A client still waits by then, and is better asked to try again than kept waiting.
_MOST_WAITING_SECONDS = 30.0

# A process that a picture has altered decodes no more than so many others.
_MOST_SERVED = 100


class Decoders:
    """The decoder processes. None is started before the first picture."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: list[QueuedPicture] = []
        self._running: list[QueuedPicture] = []
        self._served: dict[str, int] = {}
        self._idle: list[DecoderProcess] = []

    def decode(
        self, user: str, cost: int, request: Mapping[str, Any], content: bytes
    ) -> tuple[dict[str, Any], bytes]:
        """The answer of a process to a request with this content; `cost` is in pixels.

        Raises DecodingFailed; DecodingTooSlow; Busy where all processes are in use, or too many pictures wait.
        """
        picture = QueuedPicture(user, cost)
        with self.hold_slot(picture):
            process = self._take_process()
            try:
                answer = process.ask(picture, request, content)
            except BaseException:
                process.end()
                raise
            self._put_back(process, picture)
            return answer

    @contextmanager
    def hold_slot(self, picture: QueuedPicture) -> Iterator[None]:
        """Wait for a free process, and occupy its slot. Raises Busy."""
        with self._changed:
            if is_over_limit(picture, self._waiting, self._running):
                raise Busy
            self._waiting.append(picture)
            is_next = self._changed.wait_for(lambda: self._choose_next() is picture, _MOST_WAITING_SECONDS)
            self._waiting.remove(picture)
            self._changed.notify_all()
            if not is_next:
                raise Busy
            self._running.append(picture)
            self._served.pop(picture.user, None)
            self._served[picture.user] = 1 + max(self._served.values(), default=0)
        try:
            yield
        finally:
            with self._changed:
                self._running.remove(picture)
                if not (self._running or self._waiting):
                    self._served.clear()
                self._changed.notify_all()

    def close(self) -> None:
        """End the idle processes; the others end with their pictures."""
        with self._changed:
            idle, self._idle = self._idle, []
        for process in idle:
            process.end()

    def _choose_next(self) -> QueuedPicture | None:
        return choose_next(self._waiting, self._running, self._served)

    def _take_process(self) -> DecoderProcess:
        while (process := self._pop_idle()) is not None:
            if process.is_alive:
                return process
            process.end()
        return DecoderProcess()

    def _pop_idle(self) -> DecoderProcess | None:
        with self._changed:
            return self._idle.pop() if self._idle else None

    def _put_back(self, process: DecoderProcess, picture: QueuedPicture) -> None:
        """Keep the process for the next picture; after a large one end it, since only that frees its memory."""
        if picture.is_heavy or process.served >= _MOST_SERVED:
            process.end()
            return
        with self._changed:
            self._idle.append(process)


DECODERS = Decoders()
"""The decoders of this process."""
atexit.register(DECODERS.close)
