"""Additions to checkpoints: VAEs, textual-inversion embeddings and LoRAs, one file in the store each."""

from dataclasses import dataclass
from typing import Literal, get_args

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from farm.db.namelock import lock_name
from farm.db.tables.weights import Addon
from farm.errors import Conflict, NotFound
from farm.spec.names import Names, as_good_as, nearest_hint

AddonKind = Literal["vae", "embedding", "lora"]
KINDS: tuple[AddonKind, ...] = get_args(AddonKind)

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


def add(session: Session, kind: AddonKind, name: str, found: StoredAddon, note: str | None = None) -> Addon:
    """Register an addon. Adding the same one again is harmless.

    Another of its kind is refused under its name, and under a name that prompts do not distinguish from it.
    """
    lock_name(session, name)
    known = by_name(session, kind)
    for other in Names(known).alike(name):
        check_same(known[other], found.sha256, name)
    lists = {"trigger_words": list(found.trigger_words), "source_hashes": list(found.source_hashes)}
    values = {**vars(found), **lists}
    if not Names(known).alike(name):
        session.execute(upsert(Addon).values(kind=kind, name=name, note=note, **values).on_conflict_do_nothing())
    addon = get(session, kind, name)
    check_same(addon, found.sha256, name)
    return addon


def check_same(addon: Addon, sha256: str, name: str) -> None:
    """Raise Conflict unless the name is registered for this very file."""
    if addon.sha256 != sha256:
        raise Conflict(
            f"Another {TITLES[addon.kind]} is registered as {addon.name!r}{as_good_as(addon.name, name)}. "
            "Remove it first, or choose another name."
        )


def get(session: Session, kind: AddonKind, name: str) -> Addon:
    """The addon of this name, or of the only similar one. Raises NotFound, naming the nearest."""
    known = by_name(session, kind)
    found = Names(known).only(name)
    if found is None:
        raise NotFound(f"There is no {TITLES[kind]} {name!r}.{nearest_hint(name, known)}")
    return known[found]


def by_name(session: Session, kind: AddonKind) -> dict[str, Addon]:
    """All addons of a kind that a job may name, in the order of their names."""
    query = select(Addon).where(Addon.removed_at.is_(None), Addon.kind == kind).order_by(Addon.name)
    return {addon.name: addon for addon in session.scalars(query)}


def remove(session: Session, kind: AddonKind, name: str) -> None:
    """Remove the name: new jobs cannot use it. The file stays, and accepted jobs still render with it."""
    addon = get(session, kind, name)
    session.execute(update(Addon).where(Addon.id == addon.id).values(removed_at=func.now()))
