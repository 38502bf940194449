"""The record of every try: opened by the claim, closed once by whatever ends it."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, insert, tuple_, update
from sqlalchemy.orm import Session

from farm.lifecycle import Moved
from farm.models import Attempt


def open_attempts(session: Session, claimed: Sequence[Moved], worker_id: int, batch_size: int) -> None:
    rows = [
        {
            "task_id": m.task_id,
            "number": m.attempt,
            "worker_id": worker_id,
            "outcome": "running",
            "batch_size": batch_size,
        }
        for m in claimed
    ]
    session.execute(insert(Attempt), rows)


def end_attempts(
    session: Session, moved: Sequence[Moved], outcome: str, error: str | None = None, **figures: Any
) -> None:
    """Close the current attempts of tasks that were running; those never claimed have none."""
    keys = [(m.task_id, m.attempt) for m in moved if m.attempt]
    if not keys:
        return
    session.execute(
        update(Attempt)
        .where(tuple_(Attempt.task_id, Attempt.number).in_(keys), Attempt.outcome == "running")
        .values(outcome=outcome, error=error, ended_at=func.clock_timestamp(), **figures)
        .execution_options(synchronize_session=False)
    )
