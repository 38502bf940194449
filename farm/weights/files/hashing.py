"""The hashes that identify weights: the sha256 of a file, as the WebUI computes it, or of a folder."""

import hashlib
from pathlib import Path

from farm.weights.files.sourcefiles import inspect_source_files

_READ_BY_DIFFUSERS = (".safetensors", ".bin", ".json", ".txt", ".model")


def hash_file(path: Path) -> str:
    """The sha256 of the whole file; its first ten digits are the WebUI's model hash."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def hash_folder(path: Path) -> str:
    """The sha256 over the relative names and hashes of all files that diffusers reads."""
    whole = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.suffix in _READ_BY_DIFFUSERS and p.is_file()):
        whole.update(f"{file.relative_to(path).as_posix()}\0{hash_file(file)}\n".encode())
    return whole.hexdigest()


def hash_weights(path: Path) -> str:
    """The hash of a file or folder. Raises BadWeights for anything else: opening a pipe would wait for a writer."""
    inspect_source_files(path)
    return hash_folder(path) if path.is_dir() else hash_file(path)
