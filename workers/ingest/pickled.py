"""Weights that came as a pickle, converted by a process that is kept apart."""

import subprocess
import sys
from pathlib import Path

from farm.weights.header import BadWeights
from workers.ingest.unpickle import BAD_FILE

_PICKLE_STARTS = (b"PK\x03\x04", b"\x80")
_LENGTH_BYTES = 8
_TIMEOUT_SECONDS = 3600


def is_pickled(path: Path) -> bool:
    """Told by its first bytes: PyTorch writes zip files today, and wrote bare pickles once.

    A safetensors file begins with its header's length, which may happen to look like the start of a pickle.
    """
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        start = stream.read(_LENGTH_BYTES + 1)
    is_header = (
        start[_LENGTH_BYTES:] == b"{" and int.from_bytes(start[:_LENGTH_BYTES], "little") < path.stat().st_size
    )
    return start.startswith(_PICKLE_STARTS) and not is_header


def unpickle(source: Path, folder: Path) -> Path:
    """The same weights as a safetensors file in the folder. Raises BadWeights."""
    target = folder / f"{source.parent.name}-{source.name}.safetensors"
    command = [sys.executable, "-m", "workers.ingest.unpickle", str(source), str(target)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise BadWeights(f"{source} took more than an hour to read: refused.") from error
    if done.returncode == 0:
        return target
    target.unlink(missing_ok=True)
    if done.returncode == BAD_FILE:
        raise BadWeights(done.stderr.strip().rpartition("\n")[2])
    raise BadWeights(f"{source} could not be read: its reader ended with {done.returncode}.")
