"""Turns a pickle of PyTorch (.ckpt, .pt, .bin) into safetensors, in a process of its own that can do little else.

`python -m workers.ingest.opening.unpickle SOURCE TARGET`; it answers with a list, as JSON, of what it was not
kept from. PyTorch's weights-only reader runs no code of the file; this process is confined in case that fails, and
limited against files that unfold without end.
"""

import codecs
import io
import json
import os
import pickle
import re
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from farm.processes.confinement import confine, drop_root, end_with_parent, limit

BAD_FILE = 2
_SPARE_BYTES = 1 << 30
_CPU_SECONDS, _CPU_SECONDS_PER_GIB = 120, 60
_MAX_DEPTH = 4
_WRAPPINGS = ("state_dict", "module")
_GLOBAL = re.compile(r"\bGLOBAL ([\w.]+)|Trying to call reduce for unrecognized function ([^\s]+)")


class _Ignored:
    """Stands in for a class that a file mentions and no tensor needs: it can be built, and does nothing."""

    def __init__(self, *_: object) -> None: ...


# Trainers left objects of these in checkpoints.
_IGNORED_CLASSES = (
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
    "pytorch_lightning.callbacks.early_stopping.EarlyStopping",
    "pytorch_lightning.utilities.parsing.AttributeDict",
    "lightning.pytorch.callbacks.model_checkpoint.ModelCheckpoint",
    "torch.nn.modules.container.ParameterDict",
)


class _Refused(Exception):
    """The file is not taken; the message says why."""


def main(source: Path, target: Path) -> int:
    """Convert, in order.

    1. Shut this process in: it may read the source and write beside the target.
    2. Import what reads, and open both files, while our user may.
    3. Leave root, if we are that. Only then is the first byte of the source read.
    """
    size = source.stat().st_size
    seconds = _CPU_SECONDS + _CPU_SECONDS_PER_GIB * (size >> 30)
    end_with_parent()
    gaps = confine(read=[source], write=[target.parent], seconds=seconds, file_bytes=2 * size + _SPARE_BYTES)
    # torch starts threads, and those that run already are not confined: hence not at the top.
    import torch

    # Threads of its own would need memory beyond the limit.
    torch.set_num_threads(1)
    _rehearse()
    with source.open("rb") as held, target.open("wb") as stream:
        limit(memory_bytes=3 * size + _SPARE_BYTES)
        has_left = drop_root()
        end_with_parent()
        try:
            _convert(held, source, stream, is_ours=not has_left)
        except _Refused as refusal:
            sys.stderr.write(f"{refusal}\n")
            return BAD_FILE
    sys.stdout.write(json.dumps(gaps))
    return 0


def _rehearse() -> None:
    """Read a file of either kind: what reading imports, a user who may enter no folder cannot import any more."""
    import torch

    for is_zip in (True, False):
        file = io.BytesIO()
        torch.save({"w": torch.ones(1)}, file, _use_new_zipfile_serialization=is_zip)
        file.seek(0)
        with torch.serialization.safe_globals(_harmless()):
            torch.load(file, weights_only=True)
    for encoding in ("ascii", "latin-1", "utf-8"):
        codecs.lookup(encoding)


def _convert(held: BinaryIO, source: Path, stream: BinaryIO, *, is_ours: bool) -> None:
    from workers.ingest.opening import tensors

    place = source if is_ours else Path(f"/proc/self/fd/{held.fileno()}")
    size = os.fstat(held.fileno()).st_size
    kept = _kept(_load(held, place, source), source, size)
    tensors.write_to(stream, {name: _part(tensor) for name, tensor in kept})


def _load(held: BinaryIO, place: Path, source: Path) -> object:
    """What the file holds; mapped rather than read where its place can be opened again."""
    import torch

    is_mapped = os.access(place, os.R_OK) and zipfile.is_zipfile(place)
    try:
        with torch.serialization.safe_globals(_harmless()):
            return torch.load(place if is_mapped else held, map_location="cpu", weights_only=True, mmap=is_mapped)
    except pickle.UnpicklingError as error:
        raise _refusal(source, error) from error
    except MemoryError as error:
        raise _Refused(f"{source} unfolds to more than its size allows: refused.") from error
    except Exception as error:
        # A reader fed with garbage raises whatever it likes.
        raise _Refused(f"{source} is damaged or truncated ({type(error).__name__} while it was read).") from error


def _harmless() -> list[Callable[..., Any] | tuple[Callable[..., Any], str]]:
    """What checkpoints hold besides tensors and does nothing when built: numpy's numbers, trainers' objects."""
    import numpy as np

    scalar: Any = np.float64(0).__reduce__()[0]
    return [
        (scalar, "numpy.core.multiarray.scalar"),
        (scalar, "numpy._core.multiarray.scalar"),
        (np.dtype, "numpy.dtype"),
        *(kind for kind in vars(np.dtypes).values() if isinstance(kind, type)),
        *((_Ignored, name) for name in _IGNORED_CLASSES),
    ]


def _refusal(source: Path, error: Exception) -> _Refused:
    match = _GLOBAL.search(str(error))
    what = f" ({match[1] or match[2]})" if match else ", or is damaged"
    return _Refused(f"{source} holds more than weights{what}: refused. Get the .safetensors of it.")


def _kept(content: object, source: Path, size: int) -> Iterator[tuple[str, Any]]:
    """The tensors that can be weights. A few bytes may not claim to be terabytes by their strides."""
    import torch

    from workers.ingest.opening.tensors import NAMES

    room = 2 * size + (1 << 20)
    count = 0
    for name, tensor in _flatten(_unwrapped(content), ""):
        if tensor.dtype not in NAMES or tensor.layout is not torch.strided:
            continue
        room -= tensor.numel() * tensor.element_size()
        if room < 0:
            raise _Refused(f"{source} unfolds to more than its size allows: refused.")
        count += 1
        yield name, tensor
    if not count:
        raise _Refused(f"{source} holds no weights.")


def _unwrapped(content: object) -> object:
    for wrapping in _WRAPPINGS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapping), Mapping):
            return _unwrapped(content[wrapping])
    return content


def _flatten(content: object, prefix: str, depth: int = 0) -> Iterator[tuple[str, Any]]:
    import torch

    if isinstance(content, torch.Tensor):
        yield prefix, content
    elif isinstance(content, _Ignored):
        yield from _flatten(vars(content).get("_parameters", vars(content)), prefix, depth)
    elif isinstance(content, Mapping) and depth < _MAX_DEPTH:
        for key, value in content.items():
            yield from _flatten(value, f"{prefix}.{key}" if prefix else str(key), depth + 1)


def _part(tensor: Any) -> Any:
    from workers.ingest.opening.tensors import NAMES, LazyTensor

    return LazyTensor(NAMES[tensor.dtype], tuple(tensor.shape), tensor.detach)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
