"""Users who look at what is finished: they save images while everything breaks, and compare their hashes."""

import hashlib
import random
import threading
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from farm.client import Client
from farm.errors import FarmError
from farm.reports.shapes import GridReport, ImageReport
from tests.chaos.load import Load
from tests.chaos.stage import Stage

_IMAGES_OF_A_JOB = 3
_PAUSE_SECONDS = 0.2


@dataclass
class Downloads:
    """Saves a few images and the grids of one accepted job after the other, on a thread of its own."""

    stage: Stage
    load: Load
    dice: random.Random
    saved: int = 0
    refused: int = 0
    problems: list[str] = field(default_factory=list)
    _stopped: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._folder = self.stage.folder / "downloads"
        self._thread = threading.Thread(target=self._run, name="downloads", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(90)

    def _run(self) -> None:
        try:
            with Client(self.stage.url) as client:
                while not self._stopped.wait(_PAUSE_SECONDS):
                    if self.load.accepted:
                        self._look(client, self.dice.choice(self.load.accepted).job_id)
        except Exception:
            self.problems.append(f"the downloads broke:\n{traceback.format_exc()}")

    def _look(self, client: Client, job_id: int) -> None:
        """What cannot be fetched now is no problem; what is fetched and differs is one."""
        try:
            for picture in self._pictures(client, job_id):
                path = client.download(picture, self._folder)
                self._compare(path, picture)
        except FarmError:
            self.refused += 1

    def _pictures(self, client: Client, job_id: int) -> Iterator[ImageReport | GridReport]:
        yield from islice(client.images(job_id), _IMAGES_OF_A_JOB)
        yield from client.grids(job_id)

    def _compare(self, path: Path, picture: ImageReport | GridReport) -> None:
        self.saved += 1
        # Of a grid the client has compared the size, which is all that is reported of it.
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        if isinstance(picture, ImageReport) and sha256 != picture.sha256:
            self.problems.append(f"{path.name} was downloaded and is not the image that was published")
        path.unlink()
