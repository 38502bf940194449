"""Which files of a folder hold its weights, and the JSON beside them. Nothing here needs torch."""

import json
from collections.abc import Mapping
from pathlib import Path

from farm.weights.files.header import BadWeights
from workers.ingest.configs import Config

# Full precision before half; what trainers leave besides (EMA weights, ONNX, Flax) is not asked for.
_WEIGHTS = tuple(
    f"{stem}{variant}.{ending}"
    for ending in ("safetensors", "bin")
    for variant in ("", ".fp16")
    for stem in ("diffusion_pytorch_model", "model", "pytorch_model")
)
_MAX_JSON_BYTES = 10_000_000


def weight_files(source: Path) -> list[Path]:
    """The file, or those of a component's folder: one, or its shards. Raises BadWeights where there are none."""
    if not source.exists():
        raise BadWeights(f"{source} does not exist.")
    if not source.is_dir():
        return [source]
    for name in _WEIGHTS:
        if (source / name).is_file():
            return [source / name]
        stem, _, ending = name.partition(".")
        for index in (source / f"{name}.index.json", source / f"{stem}.{ending.split('.')[-1]}.index.fp16.json"):
            if index.is_file():
                return _shards(index)
    raise BadWeights(f"{source} holds no weights ({_WEIGHTS[0]} or the like).")


def _shards(index: Path) -> list[Path]:
    named = read_json(index, "the index of the shards is needed.").get("weight_map")
    if not isinstance(named, Mapping):
        raise BadWeights(f"{index} is not an index of shards.")
    files = sorted({index.parent / Path(str(name)).name for name in named.values()})
    for file in files:
        if not file.is_file():
            raise BadWeights(f"{index.parent} lacks its part {file.name}.")
    return files


def read_json(path: Path, hint: str) -> Config:
    """What a JSON file holds; `hint` is in the message where there is none. Raises BadWeights."""
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise BadWeights(f"{path} is too large for what it should be.")
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise BadWeights(f"{path} is missing; {hint}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise BadWeights(f"{path} is not JSON.") from error
    if not isinstance(content, dict):
        raise BadWeights(f"{path} is not what it should be; {hint}")
    return content
