"""The tables of users, their keys and their projects."""

from datetime import datetime

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column, relationship

from farm.db.tables.base import Base, big_id


class User(Base):
    """Who owns jobs. `weight` is its part of the devices, relative to others.

    `gpu_seconds` decays with time and decides fair share for workers of the release before.
    """

    __tablename__ = "users"

    id: Mapped[int] = big_id()
    name: Mapped[str]
    gpu_seconds: Mapped[float] = mapped_column(server_default="0")
    gpu_seconds_at: Mapped[datetime]
    weight: Mapped[float] = mapped_column(server_default="1")
    created_at: Mapped[datetime]
    disabled_at: Mapped[datetime | None]


class Project(Base):
    """A label that groups jobs. One that an operator gave a `weight` has a part of the devices, relative to others.

    One without is a label and nothing else, since anybody may make one: its jobs count as those of no project.
    """

    __tablename__ = "projects"

    id: Mapped[int] = big_id()
    name: Mapped[str]
    weight: Mapped[float | None]
    created_at: Mapped[datetime]


class ApiKey(Base):
    """A secret that stands for a user; only its sha256 is kept."""

    __tablename__ = "api_keys"

    id: Mapped[int] = big_id()
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    prefix: Mapped[str]
    sha256: Mapped[bytes]
    created_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]

    user: Mapped[User] = relationship(lazy="joined")
