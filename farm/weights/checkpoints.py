"""The registered checkpoints."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, null, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from farm.db.namelock import lock_name
from farm.db.tables.weights import Checkpoint
from farm.errors import Conflict, NotFound
from farm.spec.names import Names, as_good_as, nearest_hint
from farm.weights.blobs import StoredFile, as_column
from farm.weights.folder import CheckpointFolder

IN_STORE = "store:weights"
"""The location of a checkpoint whose files lie in the store."""


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
