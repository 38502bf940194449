"""The artifact store in a local folder."""

import errno
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from farm.errors import ObjectMissing, StoreError, StoreFull, StoreOutage, StoreRefused
from farm.store.links import LinkSigner

_PARTIAL = ".part-"

# What a network share or a failing disk answers; the same call may work later.
_OUTAGES = frozenset(
    {
        *(errno.EIO, errno.EREMOTEIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.EINTR),
        *(errno.ENODEV, errno.ENXIO, errno.ENOTCONN, errno.ECONNREFUSED, errno.ECONNRESET, errno.ECONNABORTED),
        *(errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH, errno.EMFILE, errno.ENFILE),
    }
)
_REFUSALS = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class DiskStore:
    """Keeps objects as files below a folder; the portal serves them by signed links."""

    def __init__(self, folder: str | Path, signer: LinkSigner) -> None:
        self._folder = Path(folder)
        self._signer = signer

    def put(self, key: str, content: bytes, media_type: str) -> None:
        """Write beside, sync, rename: a reader or a crash sees the whole object or none."""
        path = self._path(key)
        with _translated(f"Could not write {key}"):
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=path.parent, prefix=_PARTIAL, delete=False) as partial:
                try:
                    partial.write(content)
                    partial.flush()
                    os.fsync(partial.fileno())
                    os.replace(partial.name, path)
                    _sync_folder(path.parent)
                except BaseException:
                    Path(partial.name).unlink(missing_ok=True)
                    raise

    def put_file(self, key: str, path: Path, media_type: str) -> None:
        target = self._path(key)
        with _translated(f"Could not write {key}"):
            _link_or_copy(path, target)

    def fetch_file(self, key: str, path: Path) -> None:
        source = self._path(key)
        if not self.exists(key):
            raise self._missing(key)
        with _translated(f"Could not read {key}"):
            _link_or_copy(source, path)

    def exists(self, key: str) -> bool:
        path = self._path(key)
        with _translated(f"Could not look for {key}"):
            # Not `is_file`: to that a disk that fails is a file that is missing.
            try:
                return stat.S_ISREG(path.stat().st_mode)
            except (FileNotFoundError, NotADirectoryError):
                return False

    def get(self, key: str) -> bytes:
        path = self._path(key)
        with _translated(f"Could not read {key}"):
            try:
                return path.read_bytes()
            except FileNotFoundError:
                raise self._missing(key) from None

    def delete(self, key: str) -> None:
        with _translated(f"Could not delete {key}"):
            self._path(key).unlink(missing_ok=True)

    def keys(self, prefix: str = "") -> Iterator[str]:
        for path in self._files(prefix):
            key = path.relative_to(self._folder.resolve()).as_posix()
            if key.startswith(prefix) and not path.name.startswith(_PARTIAL):
                yield key

    def clear_leftovers(self, older_than_seconds: float) -> int:
        """Half-written files and, uncounted, the folders of jobs that are gone."""
        latest = time.time() - older_than_seconds
        leftovers = [path for path in self._files() if path.name.startswith(_PARTIAL) and _is_old(path, latest)]
        with _translated("Could not clear leftovers"):
            for path in leftovers:
                path.unlink(missing_ok=True)
        _remove_empty(self._folder, latest)
        return len(leftovers)

    def _files(self, prefix: str = "") -> Iterator[Path]:
        """The files of the one folder that a prefix names, or of all."""
        with _translated("Could not list the folder"):
            for folder, _, names in os.walk(self._path(prefix.rpartition("/")[0] or "."), onerror=_unless_missing):
                yield from (Path(folder, name) for name in names)

    def link(self, key: str, *, seconds: int, filename: str | None = None) -> str:
        return self._signer.sign(key, seconds=seconds, filename=filename)

    def check(self) -> None:
        with _translated(f"Cannot use the folder {self._folder}"):
            self._folder.mkdir(parents=True, exist_ok=True)
        if not os.access(self._folder, os.W_OK):
            raise StoreRefused(f"The folder {self._folder} is not writable.")

    def _missing(self, key: str) -> StoreError:
        """Why there is no such file: without the folder itself, a share is not mounted."""
        if not self._folder.is_dir():
            return StoreOutage(f"Could not read {key}: there is no folder {self._folder}.")
        return ObjectMissing(f"There is no object {key}.")

    def _path(self, key: str) -> Path:
        """Where a key lies; a key that would leave the folder does not exist."""
        if key and "\0" not in key:
            path = (self._folder / key).resolve()
            if path.is_relative_to(self._folder.resolve()):
                return path
        raise ObjectMissing(f"There is no object {key!r}.")


def _link_or_copy(source: Path, target: Path) -> None:
    """Give a file's content another name: within one file system without a copy. The target is replaced whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=_PARTIAL) as folder:
        partial = Path(folder, _PARTIAL)
        try:
            os.link(source, partial)
        except OSError:
            # Another file system, or one that knows no hard links.
            shutil.copyfile(source, partial)
        with partial.open("rb") as content:
            os.fsync(content.fileno())
        os.replace(partial, target)
    _sync_folder(target.parent)


@contextmanager
def _translated(doing: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _kind_of(error)(f"{doing}: {error.strerror}") from error


def _kind_of(error: OSError) -> type[StoreError]:
    if error.errno in _OUTAGES:
        return StoreOutage
    if error.errno in _FULL:
        return StoreFull
    return StoreRefused if error.errno in _REFUSALS else StoreError


def _unless_missing(error: OSError) -> None:
    """A folder may vanish while it is listed, and a store that nobody wrote to has none."""
    if not isinstance(error, FileNotFoundError):
        raise error


def _is_old(path: Path, latest: float) -> bool:
    try:
        return path.stat().st_mtime < latest
    except FileNotFoundError:
        return False


def _remove_empty(root: Path, latest: float) -> None:
    for folder, _, _ in os.walk(root, topdown=False):
        if Path(folder) != root and _is_old(Path(folder), latest):
            # Most are not empty; a put may be about to use the others.
            with suppress(OSError):
                os.rmdir(folder)


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut: it is the folder that holds the name."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
