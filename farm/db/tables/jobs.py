"""The tables of jobs, their tasks, attempts, counters and events."""

from datetime import datetime
from typing import Any

from sqlalchemy import ARRAY, BigInteger, Boolean, Computed, ForeignKey, Integer, Text, column, table
from sqlalchemy.orm import Mapped, mapped_column, relationship

from farm.db.tables.accounts import Project, User
from farm.db.tables.base import Base, big_id
from farm.db.tables.dispatch import Group
from farm.db.tables.workers import Worker


class Job(Base):
    """What a user submits. `request` is the validated request; drawn seeds stand in the specs.

    It may hold a hundred thousand prompts: it is read where it is asked for, and not with each job of a list.
    """

    __tablename__ = "jobs"

    id: Mapped[int] = big_id()
    owner_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    project_id: Mapped[int | None] = mapped_column(ForeignKey("projects.id"))
    name: Mapped[str]
    mode: Mapped[str]
    request: Mapped[dict[str, Any]] = mapped_column(deferred=True)
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
    """A line: how many tasks of one job and batch key stand at each status, and what a claim must know of them.

    Workers choose among these few rows instead of among the tasks; `has_queued` keeps the claim's
    partial index free of churn while the figures change. What claims and publishes changed since is in
    `deltas`: `line_counts` has both added. `pixels` are those of an image's heaviest pass; None for what the
    release before accepted. `group_id` is None for what an older portal has just written.
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
    group_id: Mapped[int | None] = mapped_column(ForeignKey(Group.id))
    project_id: Mapped[int | None] = mapped_column(BigInteger)
    is_ready: Mapped[bool] = mapped_column(server_default="false")
    ready_at: Mapped[datetime | None]
    class_: Mapped[str] = mapped_column("class", server_default="bulk")
    max_devices: Mapped[int | None]
    has_queued: Mapped[bool] = mapped_column(Boolean, Computed("queued > 0", persisted=True))


line_counts = table(
    "line_counts",
    column("job_id", BigInteger),
    column("batch_key", Text),
    *(column(status, Integer) for status in ("queued", "running", "succeeded", "failed", "cancelled")),
)
"""A view: how many tasks of a line stand at each status, with what was appended since they were counted."""


class Task(Base):
    """One image to render. `attempt` counts claims and is the fencing token.

    It may be claimed up to `attempt_limit` times, which is raised for each claim that was no failure of
    its own: handed back, lost with its worker, or too large for a device while another one may take it.
    `losses` counts the second.

    `cell` says where in a sweep it stands: prompt, x, y, z and repeat, from 0.

    `runs_alone` is set once an attempt failed or lost its worker, so that the next one harms no batch mates.
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
    `charged_seconds` is what its claim charged the owner by an estimate.
    `is_excused` says that its failure is no evidence against the worker: see `farm.queue.quarantine`.
    """

    __tablename__ = "attempts"

    task_id: Mapped[int] = mapped_column(ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    worker_id: Mapped[int | None] = mapped_column(ForeignKey("workers.id", ondelete="SET NULL"))
    outcome: Mapped[str]
    error: Mapped[str | None]
    batch_size: Mapped[int | None]
    gpu_seconds: Mapped[float | None]
    charged_seconds: Mapped[float | None]
    timings: Mapped[dict[str, Any] | None]
    relief: Mapped[list[str] | None]
    log_tail: Mapped[str | None]
    is_excused: Mapped[bool] = mapped_column(server_default="false")
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]

    worker: Mapped[Worker | None] = relationship(lazy="joined")


class Estimate(Base):
    """When a job was expected to start and end, as a range, and when it did."""

    __tablename__ = "estimates"

    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    made_at: Mapped[datetime]
    starts_low: Mapped[datetime | None]
    starts_high: Mapped[datetime | None]
    ends_low: Mapped[datetime | None]
    ends_high: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]


class Event(Base):
    """Something that happened to a job, for people and for programs that watch."""

    __tablename__ = "events"

    id: Mapped[int] = big_id()
    kind: Mapped[str]
    job_id: Mapped[int | None] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    task_id: Mapped[int | None] = mapped_column(BigInteger)
    reason: Mapped[str | None]
    created_at: Mapped[datetime]
