"""The record of every try: opened by the claim, closed once by whatever ends it."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Double,
    any_,
    func,
    insert,
    literal,
    select,
    tuple_,
    update,
)
from sqlalchemy.orm import Session

from farm.db.tables.jobs import Attempt, Task
from farm.queue.counts import lines
from farm.queue.counts.lines import Change, LineKey
from farm.queue.lifecycle import Moved
from farm.queue.states import TaskStatus

_MOST_ESTIMATES = 10
_LEAST_CEILING_SECONDS = 60.0

EXPIRED = "the lease ended without a word from the worker"
"""The error of attempts that nobody saw end."""


def storable(text: str) -> str:
    """A text as Postgres can hold it: what a library said may have a NUL in it, or half a character."""
    return text.replace("\0", "").encode(errors="replace").decode()


def open_attempts(session: Session, claimed: Sequence[Moved]) -> None:
    """Record that an attempt of each task begins, by the worker that claimed it, and what its claim charged."""
    claims = (
        func.unnest(
            literal([m.task_id for m in claimed], ARRAY(BigInteger)),
            literal([m.charged_seconds for m in claimed], ARRAY(Double)),
        )
        .table_valued("task_id", "charged_seconds")
        .render_derived()
    )
    current = select(
        *(Task.id, Task.attempt, Task.worker_id, literal("running"), literal(len(claimed))),
        claims.c.charged_seconds,
    ).join(claims, claims.c.task_id == Task.id)
    columns = ["task_id", "number", "worker_id", "outcome", "batch_size", "charged_seconds"]
    session.connection().execute(insert(Attempt).from_select(columns, current))


def end_attempts(
    session: Session, moved: Sequence[Moved], outcome: str, error: str | None = None, **evidence: Any
) -> None:
    """Close the attempts of tasks that were running, and settle what they were charged.

    Those that were queued have none open. An attempt that brought no image took its part of the time since its
    batch was claimed; of that its owner is charged what is plausible.
    """
    lines_of = {(m.task_id, m.attempt): m.line for m in moved if m.source is TaskStatus.RUNNING}
    if not lines_of:
        return
    ended = session.connection().execute(
        update(Attempt)
        .where(tuple_(Attempt.task_id, Attempt.number).in_(list(lines_of)), Attempt.outcome == "running")
        .values(
            outcome=outcome, error=error, ended_at=func.clock_timestamp(), gpu_seconds=_part_of_time(), **evidence
        )
        .returning(Attempt.task_id, Attempt.number, Attempt.gpu_seconds, Attempt.charged_seconds)
    )
    owed: dict[LineKey, float] = defaultdict(float)
    for task_id, number, seconds, charged in ended:
        owed[lines_of[task_id, number]] += _plausible(seconds or 0.0, charged or 0.0) - (charged or 0.0)
    lines.append(session, [Change(line, charged_seconds=seconds) for line, seconds in sorted(owed.items())])


def _plausible(seconds: float, estimated: float) -> float:
    """What to charge for this time: a device that hung, or was away for hours, rendered nothing meanwhile."""
    return min(seconds, max(_MOST_ESTIMATES * estimated, _LEAST_CEILING_SECONDS))


def _part_of_time() -> ColumnElement[Any]:
    """Never negative, whatever happened to the database's clock meanwhile."""
    since = func.extract("epoch", func.clock_timestamp() - Attempt.started_at)
    return func.greatest(0, since) / func.coalesce(Attempt.batch_size, 1)


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
