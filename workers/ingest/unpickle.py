"""Turns a pickle of PyTorch (.ckpt, .pt, .bin) into safetensors, in a process of its own that can do little else.

`python -m workers.ingest.unpickle SOURCE TARGET`. PyTorch's weights-only reader runs no code of the file; the
limits of this process are there should it be wrong about that, and against files that unfold without end.
"""

import contextlib
import ctypes
import pickle
import re
import resource
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

BAD_FILE = 2
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_SPARE_BYTES = 1 << 30
_CPU_SECONDS, _CPU_SECONDS_PER_GIB = 120, 60
_MAX_DEPTH = 4
_WRAPPINGS = ("state_dict", "module")
_GLOBAL = re.compile(r"\bGLOBAL ([\w.]+)|Trying to call reduce for unrecognized function ([^\s]+)")


class _Ignored:
    """Stands in for a class that a file mentions and nobody needs: it can be built, and does nothing."""

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
    _leave_the_network()
    # torch starts threads, and a process of several cannot leave the network: hence not at the top.
    import torch

    from workers.ingest import tensors

    # Threads of its own would need memory beyond the limit.
    torch.set_num_threads(1)
    _limit(source.stat().st_size)
    try:
        content = _load(source)
        tensors.write(target, {name: _part(tensor) for name, tensor in _kept(content, source)})
    except _Refused as refusal:
        sys.stderr.write(f"{refusal}\n")
        return BAD_FILE
    return 0


def _leave_the_network() -> None:
    """Into a network namespace with nothing in it, where the kernel lets us; where it does not, we go on."""
    unshare = ctypes.CDLL(None, use_errno=True).unshare
    if unshare(_CLONE_NEWNET) != 0:
        unshare(_CLONE_NEWUSER | _CLONE_NEWNET)


def _limit(size: int) -> None:
    """No more memory than the file accounts for, no more time, no core; files no larger than its weights."""
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    seconds = _CPU_SECONDS + _CPU_SECONDS_PER_GIB * (size >> 30)
    for kind, limit in (
        (resource.RLIMIT_AS, held + 3 * size + _SPARE_BYTES),
        (resource.RLIMIT_FSIZE, 2 * size + _SPARE_BYTES),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_CORE, 0),
    ):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(kind, (limit, limit))


def _load(source: Path) -> object:
    import torch

    try:
        with torch.serialization.safe_globals(_harmless()):
            return torch.load(source, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(source))
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


def _kept(content: object, source: Path) -> Iterator[tuple[str, Any]]:
    """The tensors that can be weights. A few bytes may not claim to be terabytes by their strides."""
    import torch

    from workers.ingest.tensors import NAMES

    room = 2 * source.stat().st_size + (1 << 20)
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
    from workers.ingest.tensors import NAMES, Part

    return Part(NAMES[tensor.dtype], tuple(tensor.shape), tensor.detach)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
