"""Tensors in safetensors files: read one at a time, and written one at a time, so that memory holds one."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open

from farm.weights.files.header import BadWeights, Header, read

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}
NAMES = {dtype: name for name, dtype in _DTYPES.items()}
# What diffusers does not compute in, and what it becomes.
_COMPUTED_AS = {"F64": "F32", "F8_E4M3": "F16", "F8_E5M2": "F16"}
_HEADER_ALIGNMENT = 8
_METADATA: Mapping[str, str] = {"format": "pt"}


@dataclass(frozen=True)
class LazyTensor:
    """A tensor that is read when it is asked for; `dtype` as safetensors names it."""

    dtype: str
    shape: tuple[int, ...]
    take: Callable[[], torch.Tensor]

    @property
    def byte_count(self) -> int:
        return math.prod(self.shape) * _DTYPES[self.dtype].itemsize


class TensorFiles:
    """The tensors of one or several safetensors files, by their names."""

    def __init__(self, *files: Path) -> None:
        """Raises BadWeights for a file that is not what it says."""
        headers = {file: read(file) for file in files}
        self.header = Header(
            {name: tensor for header in headers.values() for name, tensor in header.tensors.items()},
            {key: value for header in headers.values() for key, value in header.metadata.items()},
        )
        self._file_by_name = {name: file for file, header in headers.items() for name in header.tensors}
        self._open = {file: _open(file) for file in files}

    def dtype(self, name: str) -> str:
        """The type a tensor is taken in: its own, or the nearest that diffusers computes in. Raises BadWeights."""
        own = self.header.tensors[name].dtype
        if own not in _DTYPES:
            raise BadWeights(f"The tensor {name} is of type {own}; weights are F32, F16 or BF16 as a rule.")
        return _COMPUTED_AS.get(own, own)

    def take(self, name: str) -> torch.Tensor:
        tensor: torch.Tensor = self._open[self._file_by_name[name]].get_tensor(name)
        return tensor.to(_DTYPES[self.dtype(name)])

    def part(self, name: str) -> LazyTensor:
        return LazyTensor(self.dtype(name), self.header.tensors[name].shape, lambda: self.take(name))


def _open(file: Path) -> Any:
    try:
        return safe_open(file, framework="pt")
    except SafetensorError as error:
        raise BadWeights(f"{file} is damaged: {error}.") from error


def torch_dtype(parts: Mapping[str, LazyTensor]) -> torch.dtype:
    """The type that most bytes of the parts have."""
    sizes: dict[str, int] = {}
    for part in parts.values():
        sizes[part.dtype] = sizes.get(part.dtype, 0) + part.byte_count
    return _DTYPES[max(sizes, key=lambda dtype: sizes[dtype])]


def write(path: Path, parts: Mapping[str, LazyTensor], metadata: Mapping[str, str] = _METADATA) -> None:
    """Write a safetensors file. The same parts give the same bytes: widest types first, then by name."""
    with path.open("wb") as stream:
        write_to(stream, parts, metadata)


def write_to(stream: BinaryIO, parts: Mapping[str, LazyTensor], metadata: Mapping[str, str] = _METADATA) -> None:
    """The same, into a file that is open."""
    ordered = sorted(parts, key=lambda name: (-_DTYPES[parts[name].dtype].itemsize, name))
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    end = 0
    for name in ordered:
        begin, end = end, end + parts[name].byte_count
        header[name] = {"dtype": parts[name].dtype, "shape": parts[name].shape, "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _HEADER_ALIGNMENT)
    stream.write(len(text).to_bytes(8, "little") + text)
    for name in ordered:
        stream.write(parts[name].take().contiguous().reshape(-1).view(torch.uint8).numpy().data)
