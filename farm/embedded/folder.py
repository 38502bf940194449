"""The data folder of a farm on one machine: private, and used by one `farm up` at a time."""

import fcntl
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from farm.embedded.postgres import find_service_user
from farm.errors import ConfigError
from farm.network.runningfarm import LOCK_FILE, RUNNING_FILE

# Folders that workers and downloads of other farms on this machine may create there.
_SHARED_FOLDERS = frozenset({"spool", "cache", "downloads", "ingest", "logs"})
_LONGEST_SOCKET_FOLDER = 80  # A socket's path may have 107 bytes, its name included.


class DataFolder:
    """The folder of all data of one farm. `take` it before anything else, `release` it last."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: IO[str] | None = None
        self._short_folders: list[Path] = []

    def take(self) -> None:
        """Create and lock the folder, or one that a farm left. Raises ConfigError if it is in use or foreign."""
        try:
            self._refuse_foreign()
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.chmod(0o700)
            lock = (self.path / LOCK_FILE).open("a+")
        except OSError as error:
            raise ConfigError(
                f"FARM_DATA_DIR={self.path} cannot be used: {error.strerror} ({error.filename}). Set it to a "
                "folder that this user may write in."
            ) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise ConfigError(f"A farm is already running on {self.path}.{self._describe_running_farm()}") from None
        self._lock = lock
        # Addresses left by a killed farm would be wrong.
        (self.path / RUNNING_FILE).unlink(missing_ok=True)

    def release(self) -> None:
        """Unlock the folder; harmless if it was not taken."""
        if self._lock is None:
            return
        (self.path / RUNNING_FILE).unlink(missing_ok=True)
        for folder in self._short_folders:
            shutil.rmtree(folder, ignore_errors=True)
        self._lock.close()
        self._lock = None

    def subfolder(self, name: str) -> Path:
        folder = self.path / name
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    def postgres_folder(self) -> Path:
        """Where Postgres keeps its data. Under root that is another user, who must own nothing else of the farm."""
        if find_service_user() is None:
            return self.path / "postgres"
        return self.path.with_name(f"{self.path.name}-postgres")

    def socket_folder(self, base: Path) -> Path:
        """A folder for sockets below the base, or a short temporary one where that path would be too long."""
        folder = base / "run"
        if len(str(folder)) <= _LONGEST_SOCKET_FOLDER:
            return folder
        short = Path(tempfile.mkdtemp(prefix="farm-"))
        self._short_folders.append(short)
        return short

    def secret_key(self) -> str:
        """The key that signs links, created once and kept with the data."""
        path = self.path / "secret.key"
        if not path.exists():
            write_private(path, secrets.token_urlsafe(32))
        return path.read_text()

    def write_addresses(self, addresses: Mapping[str, str | None]) -> None:
        """Write the farm's addresses for other commands; private, since they include the key that signs links."""
        write_private(self.path / RUNNING_FILE, json.dumps(addresses))

    def _refuse_foreign(self) -> None:
        if not self.path.exists() or (self.path / LOCK_FILE).exists():
            return
        if any(place.name not in _SHARED_FOLDERS for place in self.path.iterdir()):
            raise ConfigError(
                f"FARM_DATA_DIR={self.path}: this folder is not empty and was not made by a farm. Choose another."
            )

    def _describe_running_farm(self) -> str:
        try:
            return f" Its portal: {json.loads((self.path / RUNNING_FILE).read_text())['url']}"
        except (OSError, ValueError, KeyError):
            return ""


def write_private(path: Path, text: str) -> None:
    """Write a file that only this user may read, atomically."""
    partial = path.with_name(f"{path.name}.part")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    partial.replace(path)
