"""The tables of stored objects and of what they are: uploads, results, grids, or to be deleted."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Integer
from sqlalchemy.orm import Mapped, mapped_column, relationship

from farm.db.tables.base import Base, big_id
from farm.db.tables.jobs import Task


class Artifact(Base):
    """A stored object with a role."""

    __tablename__ = "artifacts"

    id: Mapped[int] = big_id()
    role: Mapped[str]
    key: Mapped[str]
    sha256: Mapped[str]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    media_type: Mapped[str]
    width: Mapped[int]
    height: Mapped[int]
    created_at: Mapped[datetime]


class Upload(Base):
    """A picture that a user sent, by the sha256 of what is kept of it."""

    __tablename__ = "uploads"

    sha256: Mapped[str] = mapped_column(primary_key=True)
    artifact_id: Mapped[int] = mapped_column(ForeignKey("artifacts.id"))
    used_at: Mapped[datetime]

    artifact: Mapped[Artifact] = relationship(lazy="joined")


class JobInput(Base):
    """That a job needs an upload."""

    __tablename__ = "job_inputs"

    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    sha256: Mapped[str] = mapped_column(ForeignKey("uploads.sha256"), primary_key=True)


class Grid(Base):
    """A labelled picture of a sweep; a job has one for each prompt and each value of its third axis."""

    __tablename__ = "grids"

    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    title: Mapped[str]
    artifact_id: Mapped[int] = mapped_column(ForeignKey("artifacts.id"))

    artifact: Mapped[Artifact] = relationship(lazy="joined")


class Result(Base):
    """The one published image of a task: the primary key is the task, so a second cannot exist."""

    __tablename__ = "results"

    task_id: Mapped[int] = mapped_column(ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True)
    attempt: Mapped[int]
    image_id: Mapped[int] = mapped_column(ForeignKey("artifacts.id"))
    thumbnail_id: Mapped[int] = mapped_column(ForeignKey("artifacts.id"))
    provenance: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]

    image: Mapped[Artifact] = relationship(foreign_keys=[image_id], lazy="joined")
    thumbnail: Mapped[Artifact] = relationship(foreign_keys=[thumbnail_id], lazy="joined")
    task: Mapped[Task] = relationship(lazy="joined")


class Discard(Base):
    """An object whose rows are gone and that is still to be deleted from the store."""

    __tablename__ = "discards"

    key: Mapped[str] = mapped_column(primary_key=True)
    created_at: Mapped[datetime]
