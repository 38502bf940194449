"""Named points where a test can have a process kill itself, to show that every promise survives a crash there.

`python -m farm.crashpoints` lists them. They are off, and cost one comparison, unless FARM_CRASH_POINTS
names a folder: then a process that reaches a point, and can delete a file of its name in that folder,
kills itself there, as by kill -9. So each file kills one process, and a test may create it at any time.
"""

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from farm.errors import ConfigError

POINTS: Mapping[str, str] = {
    "portal.accepting": "a job and its tasks are written and not yet committed",
    "portal.accepted": "a job is committed; no worker has been rung and the client has no answer",
    "portal.rung": "the workers have been rung; the client has no answer",
    "portal.cancelling": "a job's tasks are cancelled and not yet committed",
    "portal.retried": "failed tasks are queued again and committed; no worker has been rung",
    "keeper.folding": "appended changes are added to the counts and not yet committed",
    "keeper.folded": "appended changes are added to the counts and committed",
    "keeper.expiring": "ended leases are taken back and not yet committed",
    "keeper.expired": "ended leases are taken back and committed; no worker has been rung",
    "parent.registered": "a worker is registered and its process not yet started",
    "parent.child_died": "a worker process is known to be dead; its tasks are not yet given back",
    "parent.tasks_returned": "a dead worker's tasks are given back and committed",
    "worker.claiming": "a batch is claimed and not yet committed",
    "worker.claimed": "a batch is claimed and committed; nothing is rendered",
    "worker.loaded": "the checkpoint is resident; no step has been made",
    "worker.stepped": "a step of the render has been made",
    "worker.rendered": "the images are rendered; none is encoded",
    "worker.encoded": "an image is encoded; it is not in the spool",
    "worker.spooled": "an image is in the spool; nothing of it is uploaded",
    "worker.uploaded": "the image is uploaded; its thumbnail is not",
    "worker.stored": "image and thumbnail are uploaded; nothing is published",
    "worker.gathered": "images that are to be published together are uploaded; no transaction is open",
    "worker.publishing": "images are published and not yet committed",
    "worker.published": "images are published and committed; the spool still has them",
    "worker.failing": "a failed attempt is ended and not yet committed",
    "worker.failed": "a failed attempt is ended and committed",
    "worker.handing_back": "a draining worker's tasks are handed back and not yet committed",
}


_armed: Path | None = None


def arm(folder: Path | None) -> None:
    """Arm the points that have a file in this folder, now or later; None disarms. Raises ConfigError."""
    global _armed  # noqa: PLW0603 - one per process, and any other lookup would cost time while off
    if folder is not None and not folder.is_dir():
        raise ConfigError(f"FARM_CRASH_POINTS={str(folder)!r}: there is no such folder")
    unknown = sorted({file.name for file in folder.iterdir()} - set(POINTS)) if folder else []
    if unknown:
        raise ConfigError(
            f"FARM_CRASH_POINTS: there is no crash point {unknown[0]!r}; files may be named: {', '.join(POINTS)}"
        )
    _armed = folder


def reach(name: str) -> None:
    """Kill this process if the named point is armed."""
    if _armed is not None:
        _die_if_armed(_armed / name)


def _die_if_armed(file: Path) -> None:
    try:
        file.unlink()
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    width = max(map(len, POINTS))
    for name, meaning in POINTS.items():
        sys.stdout.write(f"{name:{width}}  {meaning}\n")


if __name__ == "__main__":
    main()
