"""Rendered images on local disk, from the encoder to their publication.

Each worker has a folder, locked while its process lives. What a dead worker left is adopted by another
one on this machine, and published if the lease still stands. Wherever in the spool an image lies, its attempt
is not over: what gives back the tasks of the dead worker looks for it in all folders (`attempts_in`).
"""

import fcntl
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import IO

import structlog

from farm.errors import ConfigError
from farm.queue.claimed import AttemptKey, Lease
from workers.loop.delivery import spoolfile
from workers.loop.delivery.spoolfile import FinishedImage

log = structlog.get_logger(__name__)

_SUFFIX = ".image"
_NAME = re.compile(rf"(\d{{1,18}})-(\d{{1,9}}){re.escape(_SUFFIX)}", re.ASCII)
_PARTIAL = ".part"
_LOCK = "lock"


class Spool:
    """The images of one worker. `open` it first; a crash needs no `close`."""

    def __init__(self, folder: Path, worker_id: int, *, limit_bytes: int, batch: int) -> None:
        """`limit_bytes` is for all its images; room is kept for a batch of so many."""
        self.worker_id = worker_id
        self._folder = folder
        self._own = folder / str(worker_id)
        self._limit_bytes = limit_bytes
        self._batch = batch
        self._lock = Lock()
        self._sizes: dict[Path, int] = {}
        self._expected: dict[Lease, int] = {}
        self._largest = 0
        self._claim: IO[bytes] | None = None

    def open(self) -> None:
        """Take a folder of our own. Raises ConfigError where that cannot be written."""
        prepare(self._folder)
        with _locked(self._folder / _LOCK):
            self._own.mkdir(exist_ok=True)
            self._claim = (self._own / _LOCK).open("wb")
            fcntl.flock(self._claim, fcntl.LOCK_EX)

    def close(self) -> None:
        """Let go of the folder; images that are still in it wait for the next worker."""
        with _locked(self._folder / _LOCK):
            _remove_if_empty(self._own)
            if self._claim is not None:
                self._claim.close()

    @property
    def is_full(self) -> bool:
        """Whether a further batch might not fit beside what is here and what is expected."""
        with self._lock:
            taken = sum(self._sizes.values()) + sum(self._expected.values())
            return taken + self._batch * self._largest > self._limit_bytes

    def expect(self, lease: Lease, size_bytes: int) -> None:
        """Keep room for an image that is rendered and not yet encoded: of about so many bytes."""
        with self._lock:
            self._expected[lease] = size_bytes
            self._largest = max(self._largest, size_bytes)

    def put(self, finished: FinishedImage) -> Path:
        """Keep an image, whole or not at all. Raises OSError where the disk has no room.

        It is not synced: it is to outlive this process, and a machine that lost power loses its leases too.
        """
        path = self._own / f"{finished.lease.task_id}-{finished.lease.attempt}{_SUFFIX}"
        partial = path.with_suffix(_PARTIAL)
        try:
            spoolfile.write(partial, finished)
            partial.rename(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        self._count(path)
        self.give_up(finished.lease)
        return path

    def give_up(self, lease: Lease) -> None:
        """Expect an image no longer."""
        with self._lock:
            self._expected.pop(lease, None)

    def drop(self, path: Path) -> None:
        """Forget an image: it is published, or will never be."""
        path.unlink(missing_ok=True)
        with self._lock:
            self._sizes.pop(path, None)

    @contextmanager
    def take_abandoned(self) -> Iterator[list[Path]]:
        """The images of workers that are gone, for `adopt` and `drop`. No other process sees them then."""
        with ExitStack() as held:
            with _locked(self._folder / _LOCK):
                gone = [folder for folder in self._folder.iterdir() if folder.is_dir() and _seize(folder, held)]
            yield [path for folder in gone for path in _images(folder)]
            with _locked(self._folder / _LOCK):
                for folder in gone:
                    _remove_if_empty(folder)

    def adopt(self, path: Path) -> Path:
        """Take over an abandoned image; return where it lies now. Raises OSError if it cannot be moved."""
        with _locked(self._folder / _LOCK):
            adopted = path.rename(self._own / path.name)
        self._count(adopted)
        return adopted

    def _count(self, path: Path) -> None:
        size = path.stat().st_size
        with self._lock:
            self._sizes[path] = size
            self._largest = max(self._largest, size)


def prepare(folder: Path) -> None:
    """Make the folder of all spools on this machine. Raises ConfigError where that is impossible."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / _LOCK).touch()
    except OSError as error:
        raise ConfigError(
            f"FARM_SPOOL_DIR: rendered images wait in {folder}, which cannot be written: {error.strerror}. "
            "Set it to a folder on a local disk."
        ) from None


def attempts_in(folder: Path) -> set[AttemptKey]:
    """The attempts whose images lie anywhere in the spools on this machine, of whatever worker.

    None is overlooked while it is adopted: it moves under the lock that is held here. Raises OSError.
    """
    try:
        with _locked(folder / _LOCK):
            paths = [path for spool in folder.iterdir() if spool.is_dir() for path in _images(spool)]
    except FileNotFoundError:
        return set()
    named = [_NAME.fullmatch(path.name) for path in paths]
    return {(int(name[1]), int(name[2])) for name in named if name}


def _images(folder: Path) -> Iterator[Path]:
    with suppress(FileNotFoundError):
        yield from (path for path in folder.iterdir() if path.suffix == _SUFFIX and not path.is_symlink())


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep others from opening and adopting meanwhile."""
    with path.open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _seize(folder: Path, held: ExitStack) -> bool:
    """Whether the process that locked the folder is gone: then its lock is ours, until `held` is closed."""
    try:
        lock = held.enter_context((folder / _LOCK).open("wb"))
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        log.warning("A folder of the spool cannot be entered.", folder=folder.name, error=str(error))
        return False
    return True


def _remove_if_empty(folder: Path) -> None:
    """Remove a folder that holds no image. What cannot be removed only stays."""
    with suppress(OSError):
        if not any(_images(folder)):
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()
