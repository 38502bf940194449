"""The farm that `farm up` has running in a data folder: how other commands find its addresses."""

import fcntl
import json
from pathlib import Path

RUNNING_FILE = "running.json"
LOCK_FILE = "farm.lock"
PARTS = ("database_url", "redis_url", "store_url")
ADDRESSES = (*PARTS, "secret_key", "url")
"""The settings that a running farm has written down."""


def running_farm(data_dir: Path) -> dict[str, str]:
    """The addresses of the `farm up` that runs on this data folder now; empty when none does."""
    if not _is_locked(data_dir / LOCK_FILE):
        return {}
    try:
        found: dict[str, str] = json.loads((data_dir / RUNNING_FILE).read_text())
    except (OSError, ValueError):
        return {}
    return {name: value for name, value in found.items() if name in ADDRESSES}


def _is_locked(path: Path) -> bool:
    """Whether a live process holds the lock: the file alone may be left over from a crash."""
    try:
        with path.open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False
