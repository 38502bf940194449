"""Where artifacts are kept: one protocol, a folder or an S3-compatible bucket behind it."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

import structlog

from farm.config import Settings
from farm.errors import ConfigError, StoreError, StoreOutage

log = structlog.get_logger(__name__)


class Store(Protocol):
    """Keeps objects under keys such as `results/7/12-1.png`.

    Every method raises StoreError on failure: StoreOutage for what passes by itself, StoreRefused for what a
    person must mend, ObjectMissing where it says so. The first two tell nothing of the object.
    """

    def put(self, key: str, content: bytes, media_type: str) -> None:
        """Keep an object; whole or not at all. Putting the same key again replaces it."""

    def get(self, key: str) -> bytes:
        """Return an object's bytes. Raises ObjectMissing."""

    def put_file(self, key: str, path: Path, media_type: str) -> None:
        """Keep a file as an object; whole or not at all. It may become the object: never change it afterwards."""

    def fetch_file(self, key: str, path: Path) -> None:
        """Write an object to a file, whole or not at all, and never change that. Raises ObjectMissing.

        Neither this nor `put_file` holds more than a few pieces in memory: an object may have gigabytes.
        """

    def exists(self, key: str) -> bool:
        """Whether there is such an object."""

    def delete(self, key: str) -> None:
        """Forget an object; a missing one is no error."""

    def keys(self, prefix: str = "") -> Iterator[str]:
        """All keys that begin with the prefix, in no order, read as they are asked for: there may be millions."""

    def clear_leftovers(self, older_than_seconds: float) -> int:
        """Delete what puts that were cut off left behind so long ago; return how many pieces."""

    def link(self, key: str, *, seconds: int, filename: str | None = None) -> str:
        """A URL that lets anybody who has it read the object for so long; relative if the portal serves it.

        With a filename the browser saves instead of showing.
        """

    def check(self) -> None:
        """Raise StoreError unless the store can be reached."""


def delete_each(store: Store, keys: Iterable[str]) -> list[str]:
    """Delete objects; return the keys of those that are gone.

    One that the store refuses to delete keeps no other. Raises StoreOutage at once: then none would go.
    """
    gone = []
    for key in keys:
        try:
            store.delete(key)
        except StoreOutage:
            raise
        except StoreError as error:
            log.warning("An object cannot be deleted.", key=key, error=str(error))
        else:
            gone.append(key)
    return gone


def open_store(settings: Settings) -> Store:
    """The store that FARM_STORE_URL names: `file:///folder` or `s3://bucket/prefix?endpoint=...`."""
    from farm.store.disk import DiskStore
    from farm.store.links import LinkSigner

    url = settings.required_store_url
    parts = urlsplit(url)
    if parts.scheme == "s3":
        from farm.store.s3 import S3Store

        return S3Store.of_url(url)
    if parts.netloc:
        raise ConfigError("FARM_STORE_URL: a folder is written with three slashes, file:///folder")
    if settings.secret_key is None:
        raise ConfigError("FARM_SECRET_KEY must be set: it signs the links to images kept in a folder.")
    return DiskStore(unquote(parts.path), LinkSigner(settings.secret_key, settings.base_path))
