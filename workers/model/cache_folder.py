"""A folder of things that several processes of one host make, use and evict.

    files/<name>         one file
    checkpoints/<name>   a folder of hard links to files
    incoming/<name>/     what is being made
    locks/<name>         who uses or makes it holds this lock with others, who deletes it holds it alone
    locks/<name>.making  who makes it holds this one alone

A lock's file is touched at each use, and so shows what was used least recently. Locks end with their process.
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_EVICTION = "eviction"


class FileLock:
    """A lock on a name. It is held until it is closed, or the process ends."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)

    def share(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_SH)

    def take(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def try_take(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def touch(self) -> None:
        os.utime(self._file)

    def close(self) -> None:
        os.close(self._file)


@dataclass(frozen=True)
class _CachedItem:
    """Something that can be evicted."""

    name: str
    path: Path
    used_at: float


class CacheFolder:
    """Keeps the folder. Methods raise OSError, and whatever a `make` raises."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes

    def file(self, name: str) -> Path:
        return self._folder / "files" / name

    def checkpoint(self, name: str) -> Path:
        return self._folder / "checkpoints" / name

    def use(self, name: str, is_there: Callable[[], bool], make: Callable[[], None]) -> tuple[FileLock, bool]:
        """A lock under which the thing is there, made first if need be; and whether it had to be made.

        However many processes ask at the same time, one makes it and the others wait. Who uses it already is
        neither waited for nor disturbed: what is made appears whole in the place of what was there.
        """
        lock = self._lock(name)
        try:
            lock.share()
            was_made = not is_there() and self._make(name, is_there, make)
            lock.touch()
        except BaseException:
            lock.close()
            raise
        return lock, was_made

    def hold(self, name: str) -> FileLock:
        """One more lock on a thing that is in use already."""
        lock = self._lock(name)
        lock.share()
        return lock

    def _make(self, name: str, is_there: Callable[[], bool], make: Callable[[], None]) -> bool:
        """Make it unless another process has just done so: then say False."""
        making = self._lock(f"{name}.making")
        try:
            making.take()
            if is_there():
                return False
            make()
            return True
        finally:
            making.close()

    @contextmanager
    def incoming(self, name: str) -> Iterator[Path]:
        """An empty folder, in which what has this name is made."""
        folder = self._folder / "incoming" / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def evict(self, limit_bytes: int | None = None) -> bool:
        """Delete what was used least lately and is not in use, down to the bound; whether that was reached."""
        limit = self._limit_bytes if limit_bytes is None else limit_bytes
        eviction = self._lock(_EVICTION)
        try:
            eviction.take()
            self._clear_incoming()
            busy: set[str] = set()
            while self.used_bytes() > limit:
                entries = [entry for entry in self._entries() if entry.name not in busy]
                if not entries:
                    return False
                oldest = min(entries, key=lambda entry: entry.used_at)
                if not self._delete_unused(oldest.name, oldest.path):
                    busy.add(oldest.name)
            return True
        finally:
            eviction.close()

    def used_bytes(self) -> int:
        """What lies here; a file under several names counts once."""
        return sum(
            {inode: size for path in (self.file(""), self.checkpoint("")) for inode, size in _inodes(path)}.values()
        )

    def _lock(self, name: str) -> FileLock:
        return FileLock(self._folder / "locks" / name)

    def _entries(self) -> list[_CachedItem]:
        """All checkpoints, and the files that belong to none of them: deleting the others would free nothing."""
        checkpoints = _children(self.checkpoint(""))
        linked = {inode for path in checkpoints for inode, _ in _inodes(path)}
        files = [path for path in _children(self.file("")) if not linked & {inode for inode, _ in _inodes(path)}]
        return [_CachedItem(path.name, path, self._used_at(path.name)) for path in (*checkpoints, *files)]

    def _used_at(self, name: str) -> float:
        try:
            return (self._folder / "locks" / name).stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def _clear_incoming(self) -> None:
        """What processes that were killed left half made."""
        for path in _children(self._folder / "incoming"):
            self._delete_unused(path.name, path)

    def _delete_unused(self, name: str, path: Path) -> bool:
        """Delete it, unless a process uses or makes it: then return False."""
        lock = self._lock(name)
        try:
            if not lock.try_take():
                return False
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
            return True
        finally:
            lock.close()


def _children(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _inodes(path: Path) -> Iterator[tuple[tuple[int, int], int]]:
    """The files at or below a path, each with its size in bytes. What vanishes meanwhile is left out."""
    for file in path.rglob("*") if path.is_dir() else [path]:
        try:
            found = file.stat()
        except FileNotFoundError:
            continue
        if not file.is_dir():
            yield (found.st_dev, found.st_ino), found.st_size
