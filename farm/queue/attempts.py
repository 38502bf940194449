"""The record of every try: opened by the claim, closed once by whatever ends it."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ARRAY, BigInteger, any_, func, insert, literal, select, tuple_, update
from sqlalchemy.orm import Session

from farm.db.tables.jobs import Attempt, Task
from farm.queue.lifecycle import Moved, TaskStatus

EXPIRED = "the lease ended without a word from the worker"
"""The error of attempts that nobody saw end."""


def storable(text: str) -> str:
    """A text as Postgres can hold it: what a library said may have a NUL in it, or half a character."""
    return text.replace("\0", "").encode(errors="replace").decode()


def open_attempts(session: Session, claimed: Sequence[Moved]) -> None:
    """Record that an attempt of each task begins, by the worker that claimed it."""
    task_ids = [m.task_id for m in claimed]
    current = select(Task.id, Task.attempt, Task.worker_id, literal("running"), literal(len(claimed))).where(
        Task.id == any_(literal(task_ids, ARRAY(BigInteger)))
    )
    columns = ["task_id", "number", "worker_id", "outcome", "batch_size"]
    session.connection().execute(insert(Attempt).from_select(columns, current))


def end_attempts(
    session: Session, moved: Sequence[Moved], outcome: str, error: str | None = None, **figures: Any
) -> None:
    """Close the attempts of tasks that were running; those that were queued have none open."""
    keys = [(m.task_id, m.attempt) for m in moved if m.source is TaskStatus.RUNNING]
    if not keys:
        return
    session.execute(
        update(Attempt)
        .where(tuple_(Attempt.task_id, Attempt.number).in_(keys), Attempt.outcome == "running")
        .values(outcome=outcome, error=error, ended_at=func.clock_timestamp(), **figures)
        .execution_options(synchronize_session=False)
    )


def excuse_attempts(session: Session, task_ids: Sequence[int]) -> None:
    """What failed before a person mended something is no evidence against a worker: others may succeed now."""
    session.execute(
        update(Attempt)
        .where(
            Attempt.task_id == any_(literal(list(task_ids), ARRAY(BigInteger))),
            Attempt.outcome.in_(("failed", "lost")),
        )
        .values(is_excused=True)
        .execution_options(synchronize_session=False)
    )
