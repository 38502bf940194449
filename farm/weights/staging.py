"""A temporary folder for weights on their way into the store. It is always deleted afterwards."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from farm.errors import FarmError

_PREFIX = "adding-"


@contextmanager
def open_staging_folder(parent: Path) -> Iterator[Path]:
    """An empty folder for this process. Folders left by killed processes are deleted.

    A folder is locked as long as its process lives; only one process at a time makes or deletes folders.
    """
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with _holding_lock(parent):
            _clear_abandoned(parent)
            folder = Path(tempfile.mkdtemp(dir=parent, prefix=_PREFIX))
            lock = _open(folder)
            fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError as error:
        raise FarmError(
            f"A folder for weights cannot be made in {parent}: {error.strerror}. Is FARM_DATA_DIR right?"
        ) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


@contextmanager
def _holding_lock(folder: Path) -> Iterator[None]:
    lock = _open(folder)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _clear_abandoned(parent: Path) -> None:
    for folder in parent.glob(f"{_PREFIX}*"):
        lock = _open(folder)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:
            pass
        finally:
            os.close(lock)


def _open(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
