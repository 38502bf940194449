"""When the farm by itself takes a worker out of service, or keeps it from a checkpoint.

Asked in the transaction in which attempts end badly, or one succeeds where others had failed: the history of the
worker is read here, `farm.queue.workers.verdicts` says what it shows, and exclusions are written here.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import ColumnElement, or_, select, tuple_
from sqlalchemy.orm import Session

from farm.db.tables.jobs import Attempt, Counters, Task
from farm.db.tables.workers import Worker
from farm.queue.attempts import EXPIRED
from farm.queue.lifecycle import Moved
from farm.queue.workers import exclusions
from farm.queue.workers.verdicts import Ended, against_pair, against_worker

log = structlog.get_logger(__name__)

_MOST_ATTEMPTS = 100
_MOST_RESTARTS = 20


def judge(session: Session, ended: Sequence[Moved]) -> None:
    """Exclude what deserves it, now that these attempts ended badly.

    Call it after all that locks tasks, counters or jobs.
    """
    attempts = tuple_(Attempt.task_id, Attempt.number).in_([(m.task_id, m.attempt) for m in ended])
    _judge_all(session, _suspects(session, attempts))


def judge_by_success(session: Session, task_ids: Collection[int]) -> None:
    """Exclude what deserves it, now that tasks were rendered which other workers may have failed."""
    if task_ids:
        in_vain = Attempt.task_id.in_(task_ids) & Attempt.outcome.in_(("failed", "lost"))
        _judge_all(session, _suspects(session, in_vain))


def _judge_all(session: Session, suspects: Mapping[str, list[int]]) -> None:
    """Exclusions are written in the order of their key, so that two transactions cannot deadlock."""
    for worker_name, checkpoint_ids in suspects.items():
        history = _history(session, worker_name)
        for checkpoint_id in checkpoint_ids:
            if reason := against_pair(history, checkpoint_id):
                _avoid(session, worker_name, checkpoint_id, reason)
        elsewhere = _avoided_elsewhere(session, worker_name)
        if reason := against_worker(history, elsewhere):
            _take_out_of_service(session, worker_name, reason)


def _suspects(session: Session, attempts: ColumnElement[bool]) -> Mapping[str, list[int]]:
    """The workers that these attempts were tried by, each with the checkpoints they needed, both in order."""
    query = (
        select(Worker.name, Counters.checkpoint_id)
        .select_from(Attempt)
        .join(Worker, Worker.id == Attempt.worker_id)
        .join(Task, Task.id == Attempt.task_id)
        .join(Counters, (Counters.job_id == Task.job_id) & (Counters.batch_key == Task.batch_key))
        .where(attempts)
        .distinct()
        .order_by(Worker.name, Counters.checkpoint_id)
    )
    found: dict[str, list[int]] = defaultdict(list)
    for worker_name, checkpoint_id in session.execute(query):
        found[worker_name].append(checkpoint_id)
    return found


def _history(session: Session, worker_name: str) -> list[Ended]:
    """What counts of the worker's last attempts, the newest first, across the restarts of its process."""
    process = (
        select(Worker.id, Worker.last_seen_at)
        .where(Worker.name == worker_name)
        .order_by(Worker.id.desc())
        .limit(_MOST_RESTARTS)
        .subquery()
    )
    heard_of_since = or_(~Attempt.error.endswith(EXPIRED), process.c.last_seen_at > Attempt.ended_at)
    last = (
        select(Attempt)
        .where(
            Attempt.worker_id == process.c.id,
            Attempt.outcome.in_(("succeeded", "failed", "lost")),
            or_(Attempt.outcome != "lost", heard_of_since),
        )
        .order_by(Attempt.ended_at.desc())
        .limit(_MOST_ATTEMPTS)
        .lateral("last")
    )
    columns = (
        last.c[name]
        for name in ("worker_id", "started_at", "ended_at", "task_id", "outcome", "error", "is_excused")
    )
    query = (
        select(*columns, Counters.owner_id, Counters.checkpoint_id)
        .select_from(process)
        .join(last, last.c.worker_id == process.c.id)
        .join(Task, Task.id == last.c.task_id)
        .join(Counters, (Counters.job_id == Task.job_id) & (Counters.batch_key == Task.batch_key))
        .order_by(last.c.ended_at.desc())
        .limit(_MOST_ATTEMPTS)
    )
    rows = session.execute(query).all()
    elsewhere = _elsewhere(session, worker_name, {row.task_id for row in rows if row.outcome != "succeeded"})
    return [
        Ended(
            _batch_of(row),
            *(row.task_id, row.owner_id, row.checkpoint_id, row.outcome, row.error),
            elsewhere.get(row.task_id, frozenset()),
            row.is_excused,
        )
        for row in rows
    ]


def _batch_of(row: Any) -> tuple[int, datetime]:
    """What failed together: a pipeline call; or all that a worker lost at one time, of however many calls."""
    if row.outcome == "lost":
        return row.worker_id, row.ended_at.replace(second=0, microsecond=0)
    return row.worker_id, row.started_at


def _elsewhere(session: Session, worker_name: str, task_ids: Collection[int]) -> Mapping[int, frozenset[str]]:
    """How the tasks ended on workers of other names, by their ids."""
    query = (
        select(Attempt.task_id, Attempt.outcome)
        .join(Worker, Worker.id == Attempt.worker_id)
        .where(
            Attempt.task_id.in_(task_ids),
            Worker.name != worker_name,
            Attempt.outcome.in_(("succeeded", "failed", "lost")),
            ~Attempt.is_excused,
        )
        .distinct()
    )
    found: dict[int, set[str]] = defaultdict(set)
    for task_id, outcome in session.execute(query):
        found[task_id].add(outcome)
    return {task_id: frozenset(outcomes) for task_id, outcomes in found.items()}


def _avoided_elsewhere(session: Session, worker_name: str) -> frozenset[int]:
    """The checkpoints that other workers are kept from."""
    return frozenset(
        exclusion.checkpoint_id
        for exclusion in exclusions.in_force(session)
        if exclusion.worker_name != worker_name and exclusion.checkpoint_id is not None
    )


def _avoid(session: Session, worker_name: str, checkpoint_id: int, reason: str) -> None:
    if exclusions.avoid(session, worker_name, checkpoint_id, reason):
        log.warning("A worker is kept from a checkpoint.", worker=worker_name, reason=reason)


def _take_out_of_service(session: Session, worker_name: str, reason: str) -> None:
    if exclusions.take_out_of_service(session, worker_name, reason):
        log.warning("A worker is out of service.", worker=worker_name, reason=reason)
