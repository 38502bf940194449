"""Checks the files of a source of weights: regular files, few enough, and no links to elsewhere."""

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from farm.weights.files.header import BadWeights

_MOST_ENTRIES = 10_000
"""A folder of a checkpoint has dozens of files; one with previews and earlier trainings has hundreds."""

_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@dataclass(frozen=True)
class SourceFiles:
    """A file or folder of weights. `places` are the paths without links by which all of it can be read."""

    places: Sequence[Path]
    byte_count: int


def inspect_source_files(source: Path) -> SourceFiles:
    """Look through a file or folder, opening nothing. Raises BadWeights, naming what is not a regular file.

    Links may point elsewhere within the folder, and from a snapshot of Hugging Face's cache to its blobs.
    """
    try:
        root = source.resolve(strict=True)
        if not root.is_dir():
            size = _measure_file(source)
            _check_readable(root)
            return SourceFiles([root], size)
        files = dict(_walk_files(source, root))
        for file in files:
            _check_readable(file)
    except FileNotFoundError:
        raise BadWeights(f"{source} does not exist.") from None
    except (OSError, RuntimeError) as error:
        # Links in a circle are a RuntimeError.
        raise BadWeights(f"{source} cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    linked = [file for file in files if not file.is_relative_to(root)]
    return SourceFiles([root, *linked], sum(files.values()))


def _walk_files(source: Path, root: Path) -> Iterator[tuple[Path, int]]:
    """Each file below the folder by its path without links, and its bytes."""
    folders, seen = [source], 0
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                seen += 1
                if seen > _MOST_ENTRIES:
                    raise BadWeights(
                        f"{source} holds more than {_MOST_ENTRIES:,} files: it is not the folder of a checkpoint."
                    )
                if entry.is_dir(follow_symlinks=False):
                    folders.append(Path(entry.path))
                elif (real := _resolve_link(Path(entry.path), root)) and not real.is_dir():
                    yield real, _measure_file(Path(entry.path))


def _check_readable(file: Path) -> None:
    """Raise BadWeights for a file without read permission, before anything opens it."""
    if not os.access(file, os.R_OK, effective_ids=os.access in os.supports_effective_ids):
        raise BadWeights(f"{file} cannot be read: permission denied. Give this user the right to read it.")


def _resolve_link(path: Path, root: Path) -> Path | None:
    """Where the path leads; None for a broken link, which fails later if the file is needed."""
    real = path.resolve()
    if not real.exists():
        return None
    if real.is_relative_to(root) or any(real.is_relative_to(blobs) for blobs in _find_blob_folders(root)):
        return real
    raise BadWeights(f"{path} is a link that points out of its folder, to {real}: put the file itself there.")


def _find_blob_folders(root: Path) -> Iterator[Path]:
    """Hugging Face's cache keeps `models--OWNER--NAME/snapshots/COMMIT`, with links to files in `blobs`."""
    for folder in (root, *root.parents):
        if folder.parent.name == "snapshots":
            yield folder.parent.parent / "blobs"


def _measure_file(path: Path) -> int:
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise BadWeights(
            f"{path} is {_KINDS.get(stat.S_IFMT(found.st_mode), 'not a regular file')}, not a file of weights."
        )
    return found.st_size
