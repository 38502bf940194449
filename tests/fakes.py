"""Stand-ins for what lies outside the farm."""

import threading
from collections.abc import Iterator
from pathlib import Path

from farm.errors import ObjectMissing, StoreError


class MemoryStore:
    """A store that keeps objects in memory."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.media_types: dict[str, str] = {}

    def put(self, key: str, content: bytes, media_type: str) -> None:
        self.objects[key] = content
        self.media_types[key] = media_type

    def get(self, key: str) -> bytes:
        if key not in self.objects:
            raise ObjectMissing(f"There is no object {key}.")
        return self.objects[key]

    def put_file(self, key: str, path: Path, media_type: str) -> None:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise StoreError(f"Could not write {key}: {error.strerror}") from error
        self.put(key, content, media_type)

    def fetch_file(self, key: str, path: Path) -> None:
        content = self.get(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        except OSError as error:
            raise StoreError(f"Could not read {key}: {error.strerror}") from error

    def exists(self, key: str) -> bool:
        return key in self.objects

    def delete(self, key: str) -> None:
        self.objects.pop(key, None)

    def keys(self, prefix: str = "") -> Iterator[str]:
        yield from [key for key in self.objects if key.startswith(prefix)]

    def clear_leftovers(self, older_than_seconds: float) -> int:
        return 0

    def link(self, key: str, *, seconds: int, filename: str | None = None) -> str:
        return f"memory:{key}"

    def check(self) -> None:
        pass


class FailingStore(MemoryStore):
    """A store that fails so many times at keeping an object before it works."""

    def __init__(self, failures: int, error: Exception | None = None) -> None:
        super().__init__()
        self.failures_left = failures
        self._error = error

    def put(self, key: str, content: bytes, media_type: str) -> None:
        if self.failures_left:
            self.failures_left -= 1
            # A new one each time: an error keeps what it passed through alive.
            raise self._error or StoreError("The disk is full.")
        super().put(key, content, media_type)


class StuckStore(MemoryStore):
    """A store that keeps nothing until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go = threading.Event()

    def put(self, key: str, content: bytes, media_type: str) -> None:
        self.let_go.wait(30)
        super().put(key, content, media_type)
