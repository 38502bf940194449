"""The header of a safetensors file: which tensors it holds, read and checked without loading one.

Format: eight bytes with the header's length, the header as JSON, then the tensors' bytes
(https://huggingface.co/docs/safetensors).
"""

import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

from farm.errors import FarmError

_LENGTH_BYTES = 8
# A checkpoint's has half a megabyte, a LoRA's with notes of its training a few. In memory it is 35 times as large.
_MAX_HEADER_BYTES = 25_000_000
_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8,
    "U16": 16, "I16": 16, "F16": 16, "BF16": 16,
    "U32": 32, "I32": 32, "F32": 32,
    "U64": 64, "I64": 64, "F64": 64,
}  # fmt: skip
_NOT_WEIGHTS = (
    (b"version https://git-lfs", "a git-lfs pointer, not the file it points to: fetch it with `git lfs pull`"),
    (b"<", "a web page, not weights: is a token needed to download it?"),
    (b"{", "the answer of a server, not weights: is a token needed to download it?"),
    (b"PK\x03\x04", "a pickle of PyTorch (.ckpt, .pt, .bin), not safetensors"),
    (b"\x80", "a pickle of PyTorch (.ckpt, .pt, .bin), not safetensors"),
)


class BadWeights(FarmError):
    """The weights cannot be used."""


@dataclass(frozen=True)
class Tensor:
    """A tensor that a file holds; `dtype` as safetensors names it (F16, F32, ...)."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Header:
    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str]


def read(path: Path) -> Header:
    """The header of a file whose lengths and offsets were all verified. Raises BadWeights."""
    try:
        with path.open("rb") as stream:
            return _read(stream, path)
    except OSError as error:
        raise BadWeights(f"{path} cannot be read: {error.strerror}.") from error


def _read(stream: BinaryIO, path: Path) -> Header:
    size = os.fstat(stream.fileno()).st_size
    if size == 0:
        raise BadWeights(f"{path} is empty.")
    start = stream.read(_LENGTH_BYTES)
    length = int.from_bytes(start, "little")
    if _MAX_HEADER_BYTES < length < size:
        raise BadWeights(f"{path} has a header of {length:,} bytes; {_MAX_HEADER_BYTES:,} are read at most.")
    if size < _LENGTH_BYTES or not 2 <= length <= _MAX_HEADER_BYTES:
        raise _not_safetensors(path, start + stream.read(64))
    text = stream.read(length)
    if not text.startswith(b"{"):
        raise _not_safetensors(path, start + text[:64])
    if len(text) < length:
        raise BadWeights(f"{path} is truncated: {length - len(text):,} bytes of its header are missing.")
    entries = _parse(text, path)
    metadata = entries.pop("__metadata__", {})
    if not isinstance(metadata, dict):
        raise BadWeights(f"{path} is damaged: its metadata is not a table.")
    spans = {name: _parse_entry(name, entry, path) for name, entry in entries.items()}
    _check_spans([span for _, span in spans.values()], size - _LENGTH_BYTES - length, path)
    tensors = {name: tensor for name, (tensor, _) in spans.items()}
    return Header(tensors, {str(key): str(value) for key, value in metadata.items()})


def _not_safetensors(path: Path, start: bytes) -> BadWeights:
    for beginning, what in _NOT_WEIGHTS:
        if start.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(beginning):
            return BadWeights(f"{path} is {what}.")
    return BadWeights(f"{path} is not a safetensors file.")


def _parse(text: bytes, path: Path) -> dict[str, object]:
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadWeights(f"{path} is damaged: its header is not JSON.") from error
    if not isinstance(entries, dict):
        raise BadWeights(f"{path} is damaged: its header is not a table.")
    return entries


def _parse_entry(name: str, entry: object, path: Path) -> tuple[Tensor, tuple[int, int]]:
    """A tensor and its span of bytes, where its type, shape and length agree."""
    match entry:
        case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [int(begin), int(end)]}:
            is_sound = dtype in _BITS and all(type(side) is int and side >= 0 for side in shape)
            if is_sound and 0 <= begin <= end and math.prod(shape) * _BITS[dtype] == 8 * (end - begin):
                return Tensor(dtype, tuple(shape)), (begin, end)
    raise BadWeights(f"{path} is damaged: type, shape and offsets of its tensor {name!r} do not agree.")


def _check_spans(spans: Iterable[tuple[int, int]], room: int, path: Path) -> None:
    """Tensors lie one after another, from the header to the end of the file."""
    ordered = sorted(spans)
    missing = max((end for _, end in ordered), default=0) - room
    if missing > 0:
        raise BadWeights(f"{path} is truncated: {missing:,} bytes are missing.")
    if any(end != begin for (_, end), (begin, _) in pairwise([(0, 0), *ordered, (room, room)])):
        raise BadWeights(f"{path} is damaged: its tensors overlap, or bytes lie between them.")
