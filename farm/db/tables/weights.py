"""The tables of checkpoints and addons."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger
from sqlalchemy.orm import Mapped, mapped_column

from farm.db.tables.base import Base, big_id


class Checkpoint(Base):
    """Named weights at a fixed revision. `sha256` covers every file that decides pixels."""

    __tablename__ = "checkpoints"

    id: Mapped[int] = big_id()
    name: Mapped[str]
    family: Mapped[str]
    sha256: Mapped[str]
    location: Mapped[str]
    files: Mapped[dict[str, Any] | None]
    origin: Mapped[str | None]
    suggestions: Mapped[dict[str, Any] | None]
    note: Mapped[str | None]
    created_at: Mapped[datetime]
    removed_at: Mapped[datetime | None]


class Addon(Base):
    """A VAE, an embedding or a LoRA: one safetensors file, kept in the store under its hash.

    `source_hashes` are those of the file that it was made of, by which other tools know it.
    """

    __tablename__ = "addons"

    id: Mapped[int] = big_id()
    kind: Mapped[str]
    name: Mapped[str]
    family: Mapped[str]
    sha256: Mapped[str]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    origin: Mapped[str | None]
    note: Mapped[str | None]
    trigger_words: Mapped[list[str]] = mapped_column(server_default="{}")
    source_hashes: Mapped[list[str]] = mapped_column(server_default="{}")
    created_at: Mapped[datetime]
    removed_at: Mapped[datetime | None]
