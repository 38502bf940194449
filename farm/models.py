"""The tables as Python sees them. Migrations create them; constraints and indexes stand there."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Computed,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Integer,
    LargeBinary,
    Text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class Base(DeclarativeBase):
    """All tables; datetimes are aware and in UTC, text is unbounded."""

    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads this class attribute and never changes it
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB,
        float: Double,
        bytes: LargeBinary,
        list[str]: ARRAY(Text),
        str: Text,
    }


def big_id() -> Mapped[int]:
    return mapped_column(BigInteger, Identity(), primary_key=True)


class User(Base):
    """Who owns jobs. `gpu_seconds` decays with time and decides fair share."""

    __tablename__ = "users"

    id: Mapped[int] = big_id()
    name: Mapped[str]
    gpu_seconds: Mapped[float] = mapped_column(server_default="0")
    gpu_seconds_at: Mapped[datetime]
    created_at: Mapped[datetime]
    disabled_at: Mapped[datetime | None]


class Project(Base):
    """A label that groups jobs."""

    __tablename__ = "projects"

    id: Mapped[int] = big_id()
    name: Mapped[str]
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


class Style(Base):
    """A named piece of prompt, as in the WebUI's styles.csv."""

    __tablename__ = "styles"

    name: Mapped[str] = mapped_column(primary_key=True)
    prompt: Mapped[str]
    negative_prompt: Mapped[str]


class Wildcard(Base):
    """A named list that `__name__` in a prompt draws from."""

    __tablename__ = "wildcards"

    name: Mapped[str] = mapped_column(primary_key=True)
    lines: Mapped[list[str]]


class Job(Base):
    """What a user submits. `request` is the validated request; drawn seeds stand in the specs."""

    __tablename__ = "jobs"

    id: Mapped[int] = big_id()
    owner_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    project_id: Mapped[int | None] = mapped_column(ForeignKey("projects.id"))
    name: Mapped[str]
    mode: Mapped[str]
    request: Mapped[dict[str, Any]]
    status: Mapped[str]
    reason: Mapped[str | None]
    priority: Mapped[int]
    pool: Mapped[str]
    not_before: Mapped[datetime | None]
    deadline: Mapped[datetime | None]
    idempotency_key: Mapped[str | None]
    request_sha256: Mapped[str]
    warnings: Mapped[list[str]] = mapped_column(server_default="{}")
    awaits_grid: Mapped[bool] = mapped_column(server_default="false")
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]

    owner: Mapped[User] = relationship(lazy="joined")
    project: Mapped[Project | None] = relationship(lazy="joined")


class Counters(Base):
    """How many tasks of one job and batch key stand at each status, and what a claim must know of them.

    Workers choose among these few rows instead of among the tasks; `has_queued` keeps the claim's
    partial index free of churn while the figures change. `pixels` are those of an image's heaviest
    pass; None for what the release before accepted.
    """

    __tablename__ = "counters"

    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    batch_key: Mapped[str] = mapped_column(primary_key=True)
    owner_id: Mapped[int] = mapped_column(BigInteger)
    checkpoint_id: Mapped[int] = mapped_column(ForeignKey("checkpoints.id"))
    pool: Mapped[str]
    priority: Mapped[int]
    not_before: Mapped[datetime | None]
    is_open: Mapped[bool]
    batch_limit: Mapped[int | None]
    pixels: Mapped[int | None] = mapped_column(BigInteger)
    queued: Mapped[int]
    running: Mapped[int]
    succeeded: Mapped[int]
    failed: Mapped[int]
    cancelled: Mapped[int]
    has_queued: Mapped[bool] = mapped_column(Boolean, Computed("queued > 0", persisted=True))


class Task(Base):
    """One image to render. `attempt` counts claims and is the fencing token.

    It may be claimed up to `attempt_limit` times, which is raised for each claim that was no failure of
    its own: handed back, lost with its worker, or too large for a device while another one may take it.
    `losses` counts the second.

    `cell` says where in a sweep it stands: prompt, x, y, z and repeat, from 0.

    `runs_alone` is set once an attempt failed or lost its worker, lest the next one harm its batch mates.
    """

    __tablename__ = "tasks"

    id: Mapped[int] = big_id()
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    seq: Mapped[int] = mapped_column(Integer)
    status: Mapped[str]
    reason: Mapped[str | None]
    batch_key: Mapped[str]
    spec: Mapped[dict[str, Any]]
    cell: Mapped[list[int] | None] = mapped_column(ARRAY(Integer))
    attempt: Mapped[int] = mapped_column(server_default="0")
    attempt_limit: Mapped[int]
    runs_alone: Mapped[bool] = mapped_column(server_default="false")
    losses: Mapped[int] = mapped_column(server_default="0")
    worker_id: Mapped[int | None] = mapped_column(BigInteger)
    lease_until: Mapped[datetime | None]


class Attempt(Base):
    """One try of one task by one worker.

    `relief` names what was done where memory was short; `log_tail` holds the last words of a worker that died.
    `is_excused` says that its failure is no evidence against the worker: see `farm.trust`.
    """

    __tablename__ = "attempts"

    task_id: Mapped[int] = mapped_column(ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    worker_id: Mapped[int | None] = mapped_column(ForeignKey("workers.id", ondelete="SET NULL"))
    outcome: Mapped[str]
    error: Mapped[str | None]
    batch_size: Mapped[int | None]
    gpu_seconds: Mapped[float | None]
    timings: Mapped[dict[str, Any] | None]
    relief: Mapped[list[str] | None]
    log_tail: Mapped[str | None]
    is_excused: Mapped[bool] = mapped_column(server_default="false")
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]

    worker: Mapped["Worker | None"] = relationship(lazy="joined")


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


class Worker(Base):
    """One incarnation of a process pinned to a device. A restart is a new row: its id is never reused."""

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


class Discard(Base):
    """An object whose rows are gone and that is still to be deleted from the store."""

    __tablename__ = "discards"

    key: Mapped[str] = mapped_column(primary_key=True)
    created_at: Mapped[datetime]


class Event(Base):
    """Something that happened to a job, for people and for whoever watches."""

    __tablename__ = "events"

    id: Mapped[int] = big_id()
    kind: Mapped[str]
    job_id: Mapped[int | None] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    task_id: Mapped[int | None] = mapped_column(BigInteger)
    reason: Mapped[str | None]
    created_at: Mapped[datetime]
