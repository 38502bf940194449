"""A partially downloaded file: it outlives its process, and records the address and version it belongs to."""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from farm.weights.hub.transport import DownloadError, redact_url

_CHUNK = 2**20
_SPARE_BYTES = 64 * 2**20


class PartialFile:
    """`<target>.part`, locked for this process, with `<target>.part.json` that holds its address and ETag.

    The address is kept as a hash: it may carry a token in its query.
    """

    def __init__(self, target: Path, url: str, file: FileIO) -> None:
        self._target, self._url, self._file = target, url, file
        self._path = target.with_name(target.name + ".part")
        self._about = target.with_name(target.name + ".part.json")
        self.digest = hashlib.sha256()
        self.size = 0
        self.etag = self._resume()

    def _resume(self) -> str | None:
        """Hash the existing bytes and return their ETag; empty the file if they belong to another address."""
        try:
            about = json.loads(self._about.read_text())
            if about["source"] == _fingerprint(self._url):
                self._hash_existing_bytes()
                etag: str | None = about["etag"]
                return etag
        except (OSError, ValueError, KeyError, TypeError):
            pass
        self.empty()
        return None

    def _hash_existing_bytes(self) -> None:
        self._file.seek(0)
        while chunk := self._file.read(_CHUNK):
            self.digest.update(chunk)
            self.size += len(chunk)

    def empty(self) -> None:
        """Delete all bytes, to start again."""
        self._file.seek(0)
        self._file.truncate()
        self.digest, self.size, self.etag = hashlib.sha256(), 0, None

    def record_version(self, etag: str | None) -> None:
        """Record the version of the file that the next bytes belong to."""
        self.etag = etag
        self._about.write_text(json.dumps({"source": _fingerprint(self._url), "etag": etag}))

    def write(self, chunk: bytes) -> None:
        rest = memoryview(chunk)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise DownloadError(
                f"{self._target.parent} cannot be written to: {error.strerror}. Is FARM_DOWNLOAD_DIR right?"
            ) from None
        self.digest.update(chunk)
        self.size += len(chunk)

    def publish(self) -> None:
        """Give the file its name, once its bytes are on the disk."""
        os.fsync(self._file.fileno())
        self._path.replace(self._target)
        self._about.unlink(missing_ok=True)

    def discard(self) -> None:
        self._path.unlink(missing_ok=True)
        self._about.unlink(missing_ok=True)


@contextmanager
def open_partial_file(target: Path, url: str) -> Iterator[PartialFile]:
    """The partial file of `target`, locked for this process. Raises DownloadError while another has it."""
    _make_folder(target.parent)
    path = target.with_name(target.name + ".part")
    # Without a buffer: a failed write would be repeated when the file is closed.
    with path.open("ab+", buffering=0) as file:
        if not _is_ours(file, path):
            raise DownloadError(
                f"Another process is downloading {redact_url(url)} to {target} now. Try again later."
            )
        yield PartialFile(target, url, file)


def _is_ours(file: FileIO, path: Path) -> bool:
    """Lock the file; False where another process holds it, or has just renamed it to its target."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except (BlockingIOError, FileNotFoundError):
        return False


def check_disk(folder: Path, needed: int) -> None:
    """Raise DownloadError where `needed` more bytes and a reserve do not fit on the disk."""
    _make_folder(folder)
    free = shutil.disk_usage(folder).free
    if needed + _SPARE_BYTES > free:
        raise DownloadError(
            f"{folder} has {free / 1e9:.2f} GB free, and {needed / 1e9:.2f} GB more are needed. "
            "Make room, or set FARM_DOWNLOAD_DIR to another disk."
        )


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DownloadError(f"{folder} cannot be made: {error.strerror}. Is FARM_DOWNLOAD_DIR right?") from None


def _fingerprint(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()
