"""What a worker has claimed: one attempt of one task, with what is to be rendered."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ARRAY, BigInteger, ColumnElement, Integer, func, literal, literal_column, select, tuple_

from farm.db.tables.jobs import Task
from farm.spec.modes import AnySpec

AttemptKey = tuple[int, int]
"""(task id, number of the attempt)"""

WITH_WORKER: ColumnElement[Any] = literal_column("timestamptz '9999-01-01 00:00:00+00'")
"""The `lease_until` of a task that is held for as long as its worker's lease runs.

Not `infinity`: Python has no such time, and a portal of the release before could not read the row.
"""


@dataclass(frozen=True)
class Held:
    """One attempt of one task that a worker has claimed."""

    task_id: int
    job_id: int
    attempt: int

    @property
    def key(self) -> AttemptKey:
        return self.task_id, self.attempt

    def log_fields(self) -> dict[str, int]:
        return {"job_id": self.job_id, "task_id": self.task_id, "attempt": self.attempt}


@dataclass(frozen=True)
class Lease(Held):
    """A worker's claim on one attempt of one task, with what is to be rendered."""

    spec: AnySpec


@dataclass(frozen=True)
class Unreadable(Held):
    """A claimed attempt whose spec this release cannot read, and why."""

    error: str


def is_one_of(attempts: Iterable[AttemptKey]) -> ColumnElement[bool]:
    """Whether a task runs one of these attempts. Two arrays: a spool may hold tens of thousands."""
    task_ids, numbers = zip(*attempts, strict=True) if (attempts := list(attempts)) else ((), ())
    pairs = (
        func.unnest(literal(list(task_ids), ARRAY(BigInteger)), literal(list(numbers), ARRAY(Integer)))
        .table_valued("task_id", "number")
        .render_derived()
    )
    return tuple_(Task.id, Task.attempt).in_(select(pairs.c.task_id, pairs.c.number))
