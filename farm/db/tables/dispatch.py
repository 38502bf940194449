"""The tables of dispatch: groups, deltas, the plan with its seats and outlooks, shares, measured speeds."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Integer
from sqlalchemy.orm import Mapped, mapped_column

from farm.db.tables.accounts import User
from farm.db.tables.base import Base, big_id
from farm.db.tables.weights import Checkpoint
from farm.db.tables.workers import Worker


class Group(Base):
    """What may share a pipeline call, of all jobs of a pool.

    `pixel_steps` are the pixels that go through the UNet for an image, summed over its steps; `seconds` is the
    expected device time of an image in a full batch, None until something alike was rendered.
    """

    __tablename__ = "groups"

    id: Mapped[int] = big_id()
    pool: Mapped[str]
    batch_key: Mapped[str]
    batch_limit: Mapped[int | None]
    checkpoint_id: Mapped[int] = mapped_column(ForeignKey(Checkpoint.id))
    pixels: Mapped[int | None] = mapped_column(BigInteger)
    pixel_steps: Mapped[float] = mapped_column(server_default="0")
    seconds: Mapped[float | None]
    created_at: Mapped[datetime]


class Queue(Base):
    """An owner with something ready at a priority. Who has the lowest `turn` is next, where no plan decides."""

    __tablename__ = "queues"

    pool: Mapped[str] = mapped_column(primary_key=True)
    priority: Mapped[int] = mapped_column(primary_key=True)
    owner_id: Mapped[int] = mapped_column(ForeignKey(User.id, ondelete="CASCADE"), primary_key=True)
    turn: Mapped[float] = mapped_column(server_default="0")
    is_waiting: Mapped[bool] = mapped_column(server_default="true")


class Delta(Base):
    """A change of a line's counts, and of what its owner is charged: appended by a claim or a publish.

    A publish also says what its batch took, for the measured speeds.
    """

    __tablename__ = "deltas"

    id: Mapped[int] = big_id()
    job_id: Mapped[int] = mapped_column(BigInteger)
    batch_key: Mapped[str]
    queued: Mapped[int] = mapped_column(server_default="0")
    running: Mapped[int] = mapped_column(server_default="0")
    succeeded: Mapped[int] = mapped_column(server_default="0")
    failed: Mapped[int] = mapped_column(server_default="0")
    cancelled: Mapped[int] = mapped_column(server_default="0")
    charged_seconds: Mapped[float] = mapped_column(server_default="0")
    worker_id: Mapped[int | None] = mapped_column(BigInteger)
    images: Mapped[int | None]
    batch: Mapped[int | None]
    render_seconds: Mapped[float | None]
    load_seconds: Mapped[float | None]
    created_at: Mapped[datetime]


class SeatRow(Base):
    """A worker's next work, as the plan advises."""

    __tablename__ = "seats"

    worker_id: Mapped[int] = mapped_column(ForeignKey(Worker.id, ondelete="CASCADE"), primary_key=True)
    group_id: Mapped[int] = mapped_column(ForeignKey(Group.id, ondelete="CASCADE"))
    owner_id: Mapped[int] = mapped_column(BigInteger)
    images: Mapped[int]
    next_checkpoint_id: Mapped[int | None] = mapped_column(BigInteger)
    reason: Mapped[str]
    planned_at: Mapped[datetime]


class PoolPlan(Base):
    """When the leader last planned a pool, and the figures of that plan."""

    __tablename__ = "plans"

    pool: Mapped[str] = mapped_column(primary_key=True)
    planned_at: Mapped[datetime]
    figures: Mapped[dict[str, Any]]


class Share(Base):
    """What an owner is owed in a pool (`lag`, GPU-seconds) and gets (`rate`, devices). Project 0 is none."""

    __tablename__ = "shares"

    pool: Mapped[str] = mapped_column(primary_key=True)
    owner_id: Mapped[int] = mapped_column(ForeignKey(User.id, ondelete="CASCADE"), primary_key=True)
    project_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, server_default="0")
    lag: Mapped[float] = mapped_column(server_default="0")
    rate: Mapped[float] = mapped_column(server_default="0")
    used_seconds: Mapped[float] = mapped_column(server_default="0")
    updated_at: Mapped[datetime]


class Speed(Base):
    """The measured device seconds for a pixel of a step, by family, size, device class and size of the batch."""

    __tablename__ = "speeds"

    family: Mapped[str] = mapped_column(primary_key=True)
    pixels: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    device_class: Mapped[str] = mapped_column(primary_key=True)
    batch: Mapped[int] = mapped_column(Integer, primary_key=True)
    seconds_per_step: Mapped[float]
    samples: Mapped[int] = mapped_column(BigInteger)
    updated_at: Mapped[datetime]


class LoadTime(Base):
    """The measured seconds that a device class takes to load a checkpoint."""

    __tablename__ = "loads"

    checkpoint_id: Mapped[int] = mapped_column(ForeignKey(Checkpoint.id, ondelete="CASCADE"), primary_key=True)
    device_class: Mapped[str] = mapped_column(primary_key=True)
    seconds: Mapped[float]
    samples: Mapped[int] = mapped_column(BigInteger)
    updated_at: Mapped[datetime]


class OutlookRow(Base):
    """Why a group's work of an owner and class waits, and when it should start: seconds from the plan on."""

    __tablename__ = "outlooks"

    group_id: Mapped[int] = mapped_column(ForeignKey(Group.id, ondelete="CASCADE"), primary_key=True)
    owner_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    class_: Mapped[str] = mapped_column("class", primary_key=True)
    reason: Mapped[str]
    starts_in_low: Mapped[float | None]
    starts_in_high: Mapped[float | None]
    images_per_second: Mapped[float | None]
    updated_at: Mapped[datetime]
