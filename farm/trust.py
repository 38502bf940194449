"""When the farm by itself takes a worker out of service, or keeps it from a checkpoint.

Asked in the transaction in which attempts end badly, or one succeeds where others had failed. What went
wrong is put down to whatever all of it has in common: to the owner's job, to the checkpoint, or to the worker.

- A batch counts once, however many images it had: one crash is one crash.
- What was handed back or cancelled counts neither way, nor does a batch of which something is excused: an
  image too large for the device's memory, what failed before a person mended it and said retry, a spec of a
  newer release.
- A lease that merely ended counts once its worker has been heard of again. One that is gone may have been
  switched off or cut off, and is not to blame.
- A batch with a task that other workers failed too counts for nothing: the task is at fault.
- A batch that other workers rendered, all of it, speaks against the worker: so a broken one is found, whichever
  owns the jobs.
- What nobody else has tried yet may be the fault of one owner's jobs, and speaks against the worker only
  where the jobs of several owners failed.
- What fails on other workers too is put down to the checkpoint, and leaves this worker in service.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile
from typing import Any

import structlog
from sqlalchemy import ColumnElement, or_, select, tuple_
from sqlalchemy.orm import Session

from farm import exclusions
from farm.attempts import EXPIRED
from farm.lifecycle import Moved
from farm.tables.jobs import Attempt, Counters, Task
from farm.tables.workers import Worker

log = structlog.get_logger(__name__)

_BAD_BATCHES_OF_A_WORKER = 5
_OWNERS = 2
_BAD_BATCHES_OF_A_CHECKPOINT = 3
_TASKS = 2

_MOST_ATTEMPTS = 100
_MOST_RESTARTS = 20
_LONGEST_ERROR = 300


@dataclass(frozen=True)
class Ended:
    """One ended attempt, as the rules see it; and how the same task ended on other workers, if it did."""

    batch: tuple[int, datetime]
    task_id: int
    owner_id: int
    checkpoint_id: int
    outcome: str
    error: str | None
    elsewhere: frozenset[str] = frozenset()
    is_excused: bool = False

    @property
    def is_refuted(self) -> bool:
        """Whether the task is at fault: others failed it too, and none rendered it."""
        return bool(self.elsewhere) and not self.is_confirmed

    @property
    def is_confirmed(self) -> bool:
        """Whether the worker is at fault: another one rendered the task."""
        return "succeeded" in self.elsewhere


def judge(session: Session, ended: Sequence[Moved]) -> None:
    """Exclude what deserves it, now that these attempts ended badly.

    Call it after all that locks tasks, counters or jobs.
    """
    attempts = tuple_(Attempt.task_id, Attempt.number).in_([(m.task_id, m.attempt) for m in ended])
    _judge_all(session, _suspects(session, attempts))


def judge_by_success(session: Session, task_id: int) -> None:
    """Exclude what deserves it, now that a worker rendered a task which others had failed."""
    _judge_all(session, _suspects(session, (Attempt.task_id == task_id) & Attempt.outcome.in_(("failed", "lost"))))


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


def against_worker(history: Iterable[Ended], avoided_elsewhere: frozenset[int] = frozenset()) -> str | None:
    """Why the worker should render nothing more; None if it may go on. `history` begins with the newest."""
    bad = [entry for entry in _since_success(history) if entry.checkpoint_id not in avoided_elsewhere]
    evidence = _evidence(bad, _BAD_BATCHES_OF_A_WORKER)
    return evidence and f"its last {evidence}. The last error: {_short(bad[0].error)}"


def against_pair(history: Iterable[Ended], checkpoint_id: int) -> str | None:
    """Why the worker should be kept from the checkpoint; None if it may go on."""
    bad = _since_success(entry for entry in history if entry.checkpoint_id == checkpoint_id)
    if len({entry.task_id for entry in bad}) < _TASKS:
        return None
    evidence = _evidence(bad, _BAD_BATCHES_OF_A_CHECKPOINT)
    return evidence and f"with this checkpoint its last {evidence}. The last error: {_short(bad[0].error)}"


def _evidence(bad: Sequence[Ended], least: int) -> str | None:
    """What at least so many batches show, in words; None where they show nothing against the worker."""
    batches = [batch for batch in _by_batch(bad) if not any(entry.is_excused for entry in batch)]
    confirmed = [batch for batch in batches if all(entry.is_confirmed for entry in batch)]
    if len(confirmed) >= least:
        return f"{len(confirmed)} batches failed, and other workers rendered them"
    # One task that is at fault fails its whole batch.
    open_ = [batch for batch in batches if not any(entry.is_refuted for entry in batch)]
    if len(open_) >= least and len(owners := _sole_owners(open_)) >= _OWNERS:
        return f"{len(open_)} batches failed, for {len(owners)} owners"
    return None


def _sole_owners(batches: Iterable[Sequence[Ended]]) -> set[int]:
    """The owners of batches that were wholly theirs: in a mixed one any of them may be at fault."""
    owners = [{entry.owner_id for entry in batch} for batch in batches]
    return {owner for of_batch in owners if len(of_batch) == 1 for owner in of_batch}


def _by_batch(entries: Iterable[Ended]) -> Sequence[Sequence[Ended]]:
    batches: dict[Any, list[Ended]] = defaultdict(list)
    for entry in entries:
        batches[entry.batch].append(entry)
    return list(batches.values())


def _since_success(history: Iterable[Ended]) -> list[Ended]:
    return list(takewhile(lambda entry: entry.outcome != "succeeded", history))


def _short(error: str | None) -> str:
    text = (error or "unknown").rstrip(".")
    return text if len(text) <= _LONGEST_ERROR else f"{text[:_LONGEST_ERROR]}…"


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
