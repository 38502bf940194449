"""The tables of workers and of what each is kept from."""

from datetime import datetime

from sqlalchemy import ARRAY, BigInteger, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column, relationship

from farm.db.tables.base import Base, big_id
from farm.db.tables.weights import Checkpoint


class Worker(Base):
    """One incarnation of a process pinned to a device. A restart is a new row: its id is never reused.

    It holds its tasks as long as `lease_until` is to come. `residents` are the ids of the checkpoints on its
    device, the one used last first; `cached` those whose weights lie on its host. `free_at` is when its batch
    should end.
    """

    __tablename__ = "workers"

    id: Mapped[int] = big_id()
    name: Mapped[str]
    host: Mapped[str]
    pid: Mapped[int]
    device: Mapped[str]
    device_name: Mapped[str]
    pool: Mapped[str]
    status: Mapped[str]
    reason: Mapped[str | None]
    checkpoint_id: Mapped[int | None] = mapped_column(ForeignKey("checkpoints.id"))
    version: Mapped[str]
    started_at: Mapped[datetime]
    last_seen_at: Mapped[datetime]
    lease_until: Mapped[datetime | None]
    device_class: Mapped[str | None]
    memory_bytes: Mapped[int | None] = mapped_column(BigInteger)
    residents: Mapped[list[int]] = mapped_column(ARRAY(BigInteger), server_default="{}")
    cached: Mapped[list[int]] = mapped_column(ARRAY(BigInteger), server_default="{}")
    free_at: Mapped[datetime | None]

    checkpoint: Mapped[Checkpoint | None] = relationship(lazy="joined")


class Exclusion(Base):
    """A worker, by the name that outlives its process, that is to render nothing, or nothing of a checkpoint."""

    __tablename__ = "exclusions"

    id: Mapped[int] = big_id()
    worker_name: Mapped[str]
    checkpoint_id: Mapped[int | None] = mapped_column(ForeignKey("checkpoints.id", ondelete="CASCADE"))
    reason: Mapped[str]
    created_at: Mapped[datetime]

    checkpoint: Mapped[Checkpoint | None] = relationship(lazy="joined")


class MemoryLimit(Base):
    """The smallest image of a family, by its pixels, that did not fit into the memory of a worker's device."""

    __tablename__ = "memory_limits"

    worker_name: Mapped[str] = mapped_column(primary_key=True)
    family: Mapped[str] = mapped_column(primary_key=True)
    pixels: Mapped[int] = mapped_column(BigInteger)
    reason: Mapped[str]
    created_at: Mapped[datetime]
