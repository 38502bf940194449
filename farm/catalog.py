"""The registered checkpoints."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import func, null, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from farm.errors import Conflict, FarmError, NotFound
from farm.families import FAMILIES
from farm.namelock import lock_name
from farm.names import Names, as_good_as, nearest_hint
from farm.tables.weights import Checkpoint
from farm.weights import bounds
from farm.weights.blobs import StoredFile, as_column
from farm.weights.hashing import hash_folder
from farm.weights.stock import inspect_source_files

IN_STORE = "store:weights"
"""The location of a checkpoint whose files lie in the store."""

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


@dataclass(frozen=True)
class StoredCheckpoint:
    """A checkpoint whose files lie in the store.

    `sha256` is that of what it was made of, `origin` where that came from; `suggestions` are the settings
    that suit it.
    """

    family: str
    sha256: str
    files: Sequence[StoredFile]
    origin: str | None = None
    suggestions: Mapping[str, Any] | None = None

    def columns(self) -> dict[str, Any]:
        return {
            "family": self.family,
            "sha256": self.sha256,
            "location": IN_STORE,
            "files": as_column(self.files),
            "origin": self.origin,
            "suggestions": dict(self.suggestions) if self.suggestions else null(),
        }


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
    for part, file in bounds.find_config_files(path).items():
        bounds.check_config(part, _read(file) or {})
        _refuse_pickles(file.parent)
    return CheckpointFolder(path.resolve(), _family(path, named), hash_folder(path))


def _refuse_pickles(folder: Path) -> None:
    if any(folder.glob("*.bin")) and not any(folder.glob("*.safetensors")):
        raise BadCheckpoint(
            f"{folder} holds its weights as pickles (.bin), which no worker opens. Without --in-place they are "
            "converted, by a process that is kept apart."
        )


def _family(path: Path, pipeline: str) -> str:
    """By the UNet's inputs, by the linear projections that came with SD2, and by what the scheduler says."""
    unet = _read(path / "unet" / "config.json") or {}
    scheduler = _read(path / "scheduler" / "scheduler_config.json") or {}
    channels = unet.get("in_channels", 4)
    base = "sd2" if unet.get("use_linear_projection") else "sd15"
    for family in FAMILIES.values():
        is_alike = (family.pipeline, family.unet_channels) == (pipeline, channels)
        is_velocity = family.prediction_type == scheduler.get("prediction_type", "epsilon") or family.base != "sd2"
        if is_alike and is_velocity and (family.is_sdxl or family.base == base):
            return family.name
    raise BadCheckpoint(f"{path} has a UNet that takes {channels} channels; 4 and 9 are rendered here.")


def _read(path: Path) -> dict[str, Any] | None:
    """A JSON object; None where there is no such file, empty where it holds something else."""
    try:
        content = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def add(
    session: Session, name: str, found: CheckpointFolder | StoredCheckpoint, note: str | None = None
) -> Checkpoint:
    """Register a checkpoint. Adding the same one again is harmless.

    Another under its name, or under one that jobs do not tell from it, is refused.
    """
    columns = found.columns()
    lock_name(session, name)
    if not Names(by_name(session)).alike(name):
        session.execute(upsert(Checkpoint).values(name=name, note=note, **columns).on_conflict_do_nothing())
    checkpoint = get(session, name)
    check_same(checkpoint, found.sha256, name, found.family)
    _check_no_twin(session, checkpoint)
    session.execute(update(Checkpoint).where(Checkpoint.id == checkpoint.id).values(columns))
    return checkpoint


def check_same(checkpoint: Checkpoint, sha256: str, name: str, family: str | None = None) -> None:
    """Raise Conflict unless the name stands for these very weights."""
    if checkpoint.sha256 != sha256 or family not in (None, checkpoint.family):
        raise Conflict(
            f"A different checkpoint is registered as {checkpoint.name!r}{as_good_as(checkpoint.name, name)}. "
            "Remove it first, or choose another name."
        )


def _check_no_twin(session: Session, checkpoint: Checkpoint) -> None:
    """A loaded checkpoint is known by its hash: one hash cannot stand for two families."""
    twin = session.scalars(
        select(Checkpoint).where(
            Checkpoint.removed_at.is_(None),
            Checkpoint.sha256 == checkpoint.sha256,
            Checkpoint.family != checkpoint.family,
        )
    ).first()
    if twin is not None:
        raise Conflict(f"These weights are registered as {twin.name!r} of family {twin.family}. Remove that first.")


def get(session: Session, name: str) -> Checkpoint:
    """The checkpoint of this name, or of the only one that is like it. Raises NotFound, naming the nearest."""
    known = by_name(session)
    found = Names(known).only(name)
    if found is None:
        raise NotFound(f"There is no checkpoint {name!r}.{nearest_hint(name, known)}")
    return known[found]


def by_name(session: Session) -> dict[str, Checkpoint]:
    """All checkpoints a job may name, in the order of their names."""
    query = select(Checkpoint).where(Checkpoint.removed_at.is_(None)).order_by(Checkpoint.name)
    return {checkpoint.name: checkpoint for checkpoint in session.scalars(query)}


def suggested_size(checkpoint: Checkpoint) -> tuple[int, int] | None:
    """The width and height that suit it; None where nothing is suggested."""
    known = checkpoint.suggestions or {}
    return (known["width"], known["height"]) if "width" in known and "height" in known else None


def remove(session: Session, name: str) -> None:
    """Take the name away: new jobs cannot use it. The files stay; accepted jobs keep rendering with them."""
    checkpoint = get(session, name)
    session.execute(update(Checkpoint).where(Checkpoint.id == checkpoint.id).values(removed_at=func.now()))
