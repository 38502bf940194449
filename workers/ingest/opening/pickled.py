"""Weights that came as a pickle, converted by a process that is kept apart.

It is started before this process is confined, and so may start no other.
"""

import hashlib
import json
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from farm.processes import programs
from farm.weights.files.header import BadWeights
from workers.ingest.opening.files import weight_files
from workers.ingest.opening.unpickle import BAD_FILE
from workers.ingest.request import Request

_PICKLE_STARTS = (b"PK\x03\x04", b"\x80")
_LENGTH_BYTES = 8
_TIMEOUT_SECONDS = 3600
_COMPONENTS = ("unet", "vae", "text_encoder", "text_encoder_2")


def is_pickled(path: Path) -> bool:
    """Known by its first bytes: PyTorch writes zip files today, and wrote bare pickles once.

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


def unpickle_all(request: Request, folder: Path) -> tuple[str, ...]:
    """Convert every pickle that the request's weights are read from. Returns warnings; raises BadWeights."""
    pickles = dict.fromkeys(file for file in _files(request) if is_pickled(file))
    gaps = [gap for file in pickles for gap in unpickle(file, folder)]
    return tuple(dict.fromkeys(gaps))


def _files(request: Request) -> Iterator[Path]:
    """The files that the weights are in. What is missing or wrong is reported later, where it is needed."""
    places = [request.source]
    if request.kind == "checkpoint" and request.source.is_dir():
        places = [request.source / name for name in _COMPONENTS]
    for place in (*places, *([request.vae] if request.vae else [])):
        with suppress(BadWeights):
            yield from weight_files(place)


def converted(source: Path, folder: Path) -> Path:
    """Where the weights of a pickle lie as a safetensors file, once it was converted into the folder."""
    place = hashlib.sha256(bytes(source.resolve())).hexdigest()[:16]
    return folder / f"{place}.safetensors"


def unpickle(source: Path, folder: Path) -> tuple[str, ...]:
    """Convert a pickle into the folder. Returns what its reader was not kept from; raises BadWeights."""
    target = converted(source, folder)
    command = programs.build_command("workers.ingest.opening.unpickle", str(source), str(target))
    environment = programs.strip_environment({"TMPDIR": str(folder), "CUDA_VISIBLE_DEVICES": ""})
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BadWeights(f"{source} took more than an hour to read: refused.") from error
    if done.returncode == 0:
        gaps: list[str] = json.loads(done.stdout)
        return tuple(gaps)
    target.unlink(missing_ok=True)
    if done.returncode == BAD_FILE:
        raise BadWeights(done.stderr.strip().rpartition("\n")[2])
    raise BadWeights(f"{source} could not be read: its reader ended with {done.returncode}.")
