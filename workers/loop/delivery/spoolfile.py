"""A rendered and encoded image as one file of the spool: a zip archive with its record and its contents."""

import hashlib
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from farm.errors import FarmError
from farm.queue.claimed import Lease


class DamagedFile(FarmError):
    """A file in the spool was cut short or changed."""


@dataclass(frozen=True)
class EncodedFile:
    """A file ready to be stored."""

    content: bytes
    media_type: str
    suffix: str
    width: int
    height: int

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


@dataclass(frozen=True)
class FinishedImage:
    """An encoded image with all that its publication says."""

    lease: Lease
    image: EncodedFile
    thumbnail: EncodedFile
    gpu_seconds: float
    timings: Mapping[str, float]
    provenance: Mapping[str, Any]
    relief: tuple[str, ...]


_RECORDS = TypeAdapter(FinishedImage)


def write(path: Path, finished: FinishedImage) -> None:
    """Write an image with its record. Raises OSError where the disk has no room."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("record.json", _RECORDS.dump_json(_with_contents(finished, b"", b"")))
        archive.writestr("image", finished.image.content)
        archive.writestr("thumbnail", finished.thumbnail.content)


def read(path: Path) -> FinishedImage:
    """An image with its record. Raises DamagedFile; OSError for what may be read another time."""
    with _open(path) as archive:
        finished = _RECORDS.validate_json(archive.read("record.json"))
        return _with_contents(finished, archive.read("image"), archive.read("thumbnail"))


def read_lease(path: Path) -> Lease:
    """Whose an image is, without its contents. Raises as `read` does."""
    with _open(path) as archive:
        return _RECORDS.validate_json(archive.read("record.json")).lease


@contextmanager
def _open(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except OSError as error:
        if not isinstance(error, FileNotFoundError | IsADirectoryError):
            raise
        raise DamagedFile(f"{path.name} in the spool cannot be read: {error}") from error
    except Exception as error:  # whatever zipfile and zlib raise of bytes that we did not write
        raise DamagedFile(f"{path.name} in the spool cannot be read: {error}") from error


def _with_contents(finished: FinishedImage, image: bytes, thumbnail: bytes) -> FinishedImage:
    return replace(
        finished,
        image=replace(finished.image, content=image),
        thumbnail=replace(finished.thumbnail, content=thumbnail),
    )
