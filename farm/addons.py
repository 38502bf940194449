"""What is added to checkpoints: VAEs, textual-inversion embeddings and LoRAs, one file in the store each."""

from dataclasses import dataclass
from typing import Literal, get_args

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from farm.errors import Conflict, NotFound
from farm.models import Addon

Kind = Literal["vae", "embedding", "lora"]
KINDS: tuple[Kind, ...] = get_args(Kind)

TITLES = {"vae": "VAE", "embedding": "embedding", "lora": "LoRA"}


@dataclass(frozen=True)
class StoredAddon:
    """A file in the store. `sha256` is its own; `family` is what it is made for; `origin` where it came from.

    `source_hashes` are those of the file that it was made of, by which other tools know it.
    """

    family: str
    sha256: str
    size_bytes: int
    origin: str | None = None
    trigger_words: tuple[str, ...] = ()
    source_hashes: tuple[str, ...] = ()


def add(session: Session, kind: Kind, name: str, found: StoredAddon, note: str | None = None) -> Addon:
    """Register an addon. Adding the same one again is harmless; another of its kind and name is refused."""
    lists = {"trigger_words": list(found.trigger_words), "source_hashes": list(found.source_hashes)}
    values = {**vars(found), **lists}
    session.execute(upsert(Addon).values(kind=kind, name=name, note=note, **values).on_conflict_do_nothing())
    addon = get(session, kind, name)
    check_same(addon, found.sha256)
    return addon


def check_same(addon: Addon, sha256: str) -> None:
    """Raise Conflict unless the name stands for this very file."""
    if addon.sha256 != sha256:
        raise Conflict(
            f"Another {TITLES[addon.kind]} is registered as {addon.name!r}. "
            "Remove it first, or choose another name."
        )


def get(session: Session, kind: Kind, name: str) -> Addon:
    addon = by_name(session, kind).get(name)
    if addon is None:
        raise NotFound(f"There is no {TITLES[kind]} {name!r}.")
    return addon


def by_name(session: Session, kind: Kind) -> dict[str, Addon]:
    """All addons of a kind that a job may name, in the order of their names."""
    query = select(Addon).where(Addon.removed_at.is_(None), Addon.kind == kind).order_by(Addon.name)
    return {addon.name: addon for addon in session.scalars(query)}


def remove(session: Session, kind: Kind, name: str) -> None:
    """Take the name away: new jobs cannot use it. The file stays; accepted jobs keep rendering with it."""
    addon = get(session, kind, name)
    session.execute(update(Addon).where(Addon.id == addon.id).values(removed_at=func.now()))
