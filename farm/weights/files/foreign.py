"""The hashes by which other tools identify a file of weights: they write them into images next to its name."""

import hashlib
from pathlib import Path

from farm.weights.files.hashing import hash_file

_LENGTH_BYTES = 8
_BLOCK_BYTES = 2**20


def source_hashes(path: Path) -> tuple[str, ...]:
    """The sha256 of a file, and of its tensors alone where it is safetensors; none of a folder.

    Civitai calls the beginning of the first AutoV2 and of the second AutoV3. The WebUI writes the first for VAEs
    and embeddings and the second for LoRAs, SwarmUI always the second.
    """
    if path.is_dir():
        return ()
    whole = hash_file(path)
    return (whole, _hash_tensors(path)) if path.suffix == ".safetensors" else (whole,)


def _hash_tensors(path: Path) -> str:
    """The sha256 of all that follows the header, so that metadata may change."""
    hashed = hashlib.sha256()
    with path.open("rb") as file:
        file.seek(int.from_bytes(file.read(_LENGTH_BYTES), "little"), 1)
        while block := file.read(_BLOCK_BYTES):
            hashed.update(block)
    return hashed.hexdigest()
