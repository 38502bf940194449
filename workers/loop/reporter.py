"""Sends the progress of the running batch, from a thread of its own: a slow Redis never slows a step."""

import threading

from farm.queue.claimed import Lease
from farm.queue.progress import Progress, ProgressBoard

_INTERVAL_SECONDS = 0.5


class Reporter:
    """Keeps the latest step of each running task and writes what changed, twice a second."""

    def __init__(self, board: ProgressBoard) -> None:
        self._board = board
        self._lock = threading.Lock()
        self._news: dict[int, Progress] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reporter", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(2)

    def report(self, leases: tuple[Lease, ...], step: int, steps: int) -> None:
        with self._lock:
            self._news |= {lease.task_id: Progress(lease.attempt, step, steps) for lease in leases}

    def _run(self) -> None:
        while not self._stopped.wait(_INTERVAL_SECONDS):
            with self._lock:
                news, self._news = self._news, {}
            if news:
                self._board.write(news)
