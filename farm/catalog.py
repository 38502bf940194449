"""The registered checkpoints."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from farm.errors import Conflict, FarmError, NotFound
from farm.models import Checkpoint

_FAMILY_BY_CLASS = {"StableDiffusionPipeline": "sd15"}
_WEIGHTS = (".safetensors", ".bin", ".json", ".txt", ".model")


class BadCheckpoint(FarmError):
    """The folder is not a checkpoint this farm can render."""


@dataclass(frozen=True)
class CheckpointFolder:
    """A diffusers folder that was looked into: what it is, and the hash of what decides its pixels."""

    path: Path
    family: str
    sha256: str


def inspect_folder(path: Path) -> CheckpointFolder:
    """Look into a diffusers checkpoint folder. Raises BadCheckpoint with what is missing."""
    index = path / "model_index.json"
    try:
        named = str(json.loads(index.read_text())["_class_name"])
    except (FileNotFoundError, NotADirectoryError):
        raise BadCheckpoint(f"{path} has no model_index.json; is it a diffusers checkpoint folder?") from None
    except (ValueError, KeyError, TypeError):
        raise BadCheckpoint(f"{index} is not a diffusers index.") from None
    if named not in _FAMILY_BY_CLASS:
        raise BadCheckpoint(f"{path} holds a {named}; known are {', '.join(_FAMILY_BY_CLASS)}.")
    for part in ("unet", "vae", "text_encoder", "tokenizer", "scheduler"):
        if not (path / part).is_dir():
            raise BadCheckpoint(f"{path} has no folder {part!r}.")
    return CheckpointFolder(path.resolve(), _FAMILY_BY_CLASS[named], _hash_folder(path))


def _hash_folder(path: Path) -> str:
    """The sha256 over the relative names and hashes of all files that diffusers reads."""
    whole = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.suffix in _WEIGHTS and p.is_file()):
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        whole.update(f"{file.relative_to(path).as_posix()}\0{digest}\n".encode())
    return whole.hexdigest()


def add(session: Session, name: str, folder: CheckpointFolder, note: str | None = None) -> Checkpoint:
    """Register a checkpoint. Adding the same one again is harmless; another under its name is refused."""
    session.execute(
        upsert(Checkpoint)
        .values(name=name, family=folder.family, sha256=folder.sha256, location=str(folder.path), note=note)
        .on_conflict_do_nothing()
    )
    checkpoint = get(session, name)
    if checkpoint.sha256 != folder.sha256:
        raise Conflict(
            f"A different checkpoint is registered as {name!r}. Remove it first, or choose another name."
        )
    checkpoint.location = str(folder.path)
    return checkpoint


def get(session: Session, name: str) -> Checkpoint:
    checkpoint = by_name(session).get(name)
    if checkpoint is None:
        raise NotFound(f"There is no checkpoint {name!r}.")
    return checkpoint


def by_name(session: Session) -> dict[str, Checkpoint]:
    """All checkpoints a job may name, in the order of their names."""
    query = select(Checkpoint).where(Checkpoint.removed_at.is_(None)).order_by(Checkpoint.name)
    return {checkpoint.name: checkpoint for checkpoint in session.scalars(query)}


def remove(session: Session, name: str) -> None:
    """Take the name away: new jobs cannot use it. The files stay; accepted jobs keep rendering with them."""
    get(session, name)
    session.execute(
        update(Checkpoint)
        .where(Checkpoint.name == name, Checkpoint.removed_at.is_(None))
        .values(removed_at=func.now())
    )
