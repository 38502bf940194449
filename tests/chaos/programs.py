"""The processes of a farm under chaos, each started again when it dies, as a service manager would."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from farm.embedded.child import spawn, stop


@dataclass
class Program:
    """One program, restarted after a short pause until it is stopped. All methods want the main thread."""

    name: str
    module: str
    arguments: tuple[str, ...]
    env: Mapping[str, str]
    log: Path
    pause: random.Random
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0
    _start_at: float = field(default=0.0)

    def start(self) -> None:
        command = [sys.executable, "-m", self.module, *self.arguments]
        self.process = spawn(command, log=self.log, env=self.env)
        self.starts += 1

    def tend(self) -> None:
        """If it died: start it again, a moment later."""
        if self.process is not None and self.process.poll() is not None:
            self.process = None
            self._start_at = time.monotonic() + self.pause.uniform(0.1, 1.0)
        if self.process is None and time.monotonic() >= self._start_at:
            self.start()

    def stop(self, grace_seconds: float = 15.0) -> None:
        """Ask it to end, and see that nothing of it is left."""
        left = self.tree()
        if self.process is not None:
            stop(self.process, grace_seconds=grace_seconds)
        kill(left)

    def tree(self) -> list[psutil.Process]:
        """Its processes: the first one, and all that came of it."""
        if self.process is None:
            return []
        with suppress(psutil.NoSuchProcess):
            first = psutil.Process(self.process.pid)
            return [first, *first.children(recursive=True)]
        return []

    def main(self) -> list[psutil.Process]:
        """The process that was started, if it lives."""
        return self.tree()[:1]

    def offspring(self) -> list[psutil.Process]:
        """What it started itself: the child on the device, or the process that serves."""
        return self.tree()[1:]


def kill(processes: list[psutil.Process]) -> int:
    """End processes as a power cut does; say how many there were."""
    return send(processes, signal.SIGKILL)


def send(processes: list[psutil.Process], number: signal.Signals) -> int:
    """Send a signal to processes that may be gone already."""
    reached = 0
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)
            reached += 1
    return reached


def python_environment() -> dict[str, str]:
    """What every process of the farm has in its environment, wherever it is started from."""
    root = Path(__file__).resolve().parents[2]
    return {
        "PYTHONPATH": os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
