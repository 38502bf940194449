"""A diffusers folder that is to be rendered from where it lies: what it is, and whether workers can read it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import null

from farm.errors import FarmError
from farm.spec.families import FAMILIES, SDXL_PIPELINE, family_of_parts
from farm.weights.files import configbounds
from farm.weights.files.hashing import hash_folder
from farm.weights.files.sourcefiles import inspect_source_files

_PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")


class BadCheckpoint(FarmError):
    """The folder is not a checkpoint this farm can render."""


@dataclass(frozen=True)
class CheckpointFolder:
    """A diffusers folder that was looked into: what it is, and the hash of what decides its pixels."""

    path: Path
    family: str
    sha256: str

    def columns(self) -> dict[str, Any]:
        return {"family": self.family, "sha256": self.sha256, "location": str(self.path), "files": null()}


def inspect_folder(path: Path) -> CheckpointFolder:
    """Look into a diffusers checkpoint folder. Raises BadCheckpoint or BadWeights, with what is missing or wrong.

    Workers read it as it lies there: what takes weights in refuses is refused here as well.
    """
    inspect_source_files(path)
    index = _read(path / "model_index.json")
    if index is None:
        raise BadCheckpoint(f"{path} has no model_index.json; is it a diffusers checkpoint folder?")
    known = {family.pipeline for family in FAMILIES.values()}
    named = index.get("_class_name")
    if not isinstance(named, str):
        raise BadCheckpoint(f"{path / 'model_index.json'} is not a diffusers index.")
    if named not in known:
        raise BadCheckpoint(f"{path} holds a {named}; known are {', '.join(sorted(known))}.")
    for part in _PARTS:
        if not (path / part).is_dir():
            raise BadCheckpoint(f"{path} has no folder {part!r}.")
    for part, file in configbounds.find_config_files(path).items():
        configbounds.check_config(part, _read(file) or {})
        _refuse_pickles(file.parent)
    return CheckpointFolder(path.resolve(), _family(path, named), hash_folder(path))


def _refuse_pickles(folder: Path) -> None:
    if any(folder.glob("*.bin")) and not any(folder.glob("*.safetensors")):
        raise BadCheckpoint(
            f"{folder} holds its weights as pickles (.bin), which no worker opens. Without --in-place they are "
            "converted, by a process that is kept apart."
        )


def _family(path: Path, pipeline: str) -> str:
    """The family; a checkpoint that predicts something else than its family does is refused."""
    unet = _read(path / "unet" / "config.json") or {}
    scheduler = _read(path / "scheduler" / "scheduler_config.json") or {}
    prediction = scheduler.get("prediction_type", "epsilon")
    family = family_of_parts(unet, prediction, is_sdxl=pipeline == SDXL_PIPELINE)
    if family is None:
        channels = unet.get("in_channels", 4)
        raise BadCheckpoint(f"{path} has a UNet that takes {channels} channels; 4 and 9 are rendered here.")
    if family.base == "sd2" and family.prediction_type != prediction:
        raise BadCheckpoint(f"{path} predicts {prediction!r}, which no {family.name} checkpoint does.")
    return family.name


def _read(path: Path) -> dict[str, Any] | None:
    """A JSON object; None where there is no such file, empty where it holds something else."""
    try:
        content = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
