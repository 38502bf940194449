"""Brings the weights of the checkpoint that comes next into the host's memory, while the device renders.

It reads files through once and leaves them to the system's page cache: nothing is taken that is not given back when
memory is short. A pipeline made ahead would save a little more, and cannot be made beside a render: diffusers and
transformers change torch's default type and `Module.register_parameter`, for all threads, while they load.
"""

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import structlog

from farm.errors import FarmError
from farm.queue.claim import ClaimedCheckpoint
from workers.compute.hostmemory import HostMemory, read_host_memory
from workers.model.pipelinefolder import list_weights
from workers.model.weights import Weights

log = structlog.get_logger(__name__)

OpenWeights = Callable[[Callable[[], bool]], Weights]
"""Opens weights apart from those of the render, which fetch only while what they are given says yes."""

_CHUNK_BYTES = 4 * 2**20
# Weights that would push out most of what the host has cached come back slower than they are read when needed.
_MOST_OF_MEMORY = 0.5
_NICENESS = 10


class ReadAhead:
    """Reads one checkpoint at a time, on a thread of its own; a newer wish calls off the one before."""

    def __init__(self, open_weights: OpenWeights, read_memory: Callable[[], HostMemory] = read_host_memory) -> None:
        self._weights = open_weights(self._is_wanted)
        self._read_memory = read_memory
        self._changed = threading.Condition()
        self._wish: ClaimedCheckpoint | None = None
        self._being_read: ClaimedCheckpoint | None = None
        self._done: ClaimedCheckpoint | None = None
        self._thread: threading.Thread | None = None

    def wish(self, checkpoint: ClaimedCheckpoint) -> None:
        """Read this one from now on, and no other; nothing if it was the last that was read."""
        with self._changed:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="read-ahead", daemon=True)
                self._thread.start()
            self._wish = None if checkpoint == self._done else checkpoint
            self._changed.notify()

    def _is_wanted(self) -> bool:
        return self._wish == self._being_read

    def _run(self) -> None:
        _step_back()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._wish is not None)
                self._being_read = self._wish
            assert self._being_read is not None
            is_done = self._try_reading(self._being_read)
            with self._changed:
                if is_done:
                    self._done = self._being_read
                if self._is_wanted():
                    self._wish = None
                self._being_read = None

    def _try_reading(self, checkpoint: ClaimedCheckpoint) -> bool:
        """Whether all of it was read. What goes wrong is no failure now: it is reported when it is needed."""
        try:
            return self._read(checkpoint)
        except (FarmError, OSError) as error:
            log.info("Weights were not read ahead.", checkpoint=checkpoint.name, reason=str(error))
            return False

    def _read(self, checkpoint: ClaimedCheckpoint) -> bool:
        if not self._weights.has(checkpoint) and not self._has_room(checkpoint.size_bytes):
            return False
        files = list_weights(self._weights.folder_of(checkpoint))
        if not self._has_room(sum(file.stat().st_size for file in files)):
            return False
        buffer = bytearray(_CHUNK_BYTES)
        return all(self._read_through(file, buffer) for file in files)

    def _has_room(self, nbytes: int) -> bool:
        return nbytes <= self._read_memory().available * _MOST_OF_MEMORY

    def _read_through(self, file: Path, buffer: bytearray) -> bool:
        """Read a file into a buffer that is used again and again; whether it is wanted still."""
        with file.open("rb", buffering=0) as opened:
            while self._is_wanted():
                if not opened.readinto(buffer):
                    return True
        return False


def _step_back() -> None:
    """Let the threads that render go first."""
    if sys.platform == "linux":
        # Of this thread alone, which elsewhere would be the whole process.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
