"""The farm's real processes, each started again when it dies, as a machine's supervisor would."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from farm.config import Settings
from farm.embedded.machine import build_environment


class Kept:
    """A program that is started again whenever it ends, until stopped."""

    def __init__(self, settings: Settings, module: str, *arguments: str, **variables: str) -> None:
        self._command = [sys.executable, "-m", module, *arguments]
        self._environment = {**os.environ, **build_environment(settings), **variables}
        self._stopped = threading.Event()
        self.process = self._start()
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(30)

    def _keep(self) -> None:
        while not self._stopped.wait(0.05):
            if self.process.poll() is not None:
                self.process = self._start()
        self.process.terminate()
        self.process.wait(30)

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, env=self._environment)


@contextmanager
def kept(settings: Settings, module: str, *arguments: str, **variables: str) -> Iterator[Kept]:
    program = Kept(settings, module, *arguments, **variables)
    try:
        yield program
    finally:
        program.stop()
