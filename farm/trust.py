"""When the farm by itself takes a worker out of service, or keeps it from a checkpoint.

Asked in the transaction in which attempts end badly. What went wrong is put down to whatever all of it
has in common: to the owner's job, to the checkpoint, or to the worker.

- A batch counts once, however many images it had: one crash is one crash.
- What was handed back or cancelled counts neither way.
- A lease that merely ended counts once its worker has been heard of again. One that is gone may have been
  switched off or cut off, and is not to blame.
- What fails on other workers too is put down to the checkpoint, and leaves this worker in service.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile

import structlog
from sqlalchemy import or_, select, tuple_
from sqlalchemy.orm import Session

from farm import exclusions
from farm.attempts import EXPIRED
from farm.lifecycle import Moved
from farm.models import Attempt, Counters, Task, Worker

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
    """One ended attempt, as the rules see it."""

    batch: tuple[int, datetime]
    task_id: int
    owner_id: int
    checkpoint_id: int
    outcome: str
    error: str | None


def judge(session: Session, ended: Sequence[Moved]) -> None:
    """Exclude what deserves it, now that these attempts ended badly. Call last: no lock is taken after these.

    Exclusions are written in the order of their key, so that two transactions cannot deadlock.
    """
    for worker_name, checkpoint_ids in _suspects(session, ended).items():
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
    batches = len({entry.batch for entry in bad})
    owners = len({entry.owner_id for entry in bad})
    if batches < _BAD_BATCHES_OF_A_WORKER or owners < _OWNERS:
        return None
    return f"its last {batches} batches failed, for {owners} owners. The last error: {_short(bad[0].error)}"


def against_pair(history: Iterable[Ended], checkpoint_id: int) -> str | None:
    """Why the worker should be kept from the checkpoint; None if it may go on."""
    bad = _since_success(entry for entry in history if entry.checkpoint_id == checkpoint_id)
    batches = len({entry.batch for entry in bad})
    if batches < _BAD_BATCHES_OF_A_CHECKPOINT or len({entry.task_id for entry in bad}) < _TASKS:
        return None
    return f"its last {batches} batches here failed. The last error: {_short(bad[0].error)}"


def _since_success(history: Iterable[Ended]) -> list[Ended]:
    return list(takewhile(lambda entry: entry.outcome != "succeeded", history))


def _short(error: str | None) -> str:
    text = (error or "unknown").rstrip(".")
    return text if len(text) <= _LONGEST_ERROR else f"{text[:_LONGEST_ERROR]}…"


def _suspects(session: Session, ended: Sequence[Moved]) -> Mapping[str, list[int]]:
    """The workers that these attempts were tried by, each with the checkpoints they needed, both in order."""
    query = (
        select(Worker.name, Counters.checkpoint_id)
        .select_from(Attempt)
        .join(Worker, Worker.id == Attempt.worker_id)
        .join(Task, Task.id == Attempt.task_id)
        .join(Counters, (Counters.job_id == Task.job_id) & (Counters.batch_key == Task.batch_key))
        .where(tuple_(Attempt.task_id, Attempt.number).in_([(m.task_id, m.attempt) for m in ended]))
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
    columns = (last.c.worker_id, last.c.started_at, last.c.task_id, last.c.outcome, last.c.error)
    query = (
        select(*columns, Counters.owner_id, Counters.checkpoint_id)
        .select_from(process)
        .join(last, last.c.worker_id == process.c.id)
        .join(Task, Task.id == last.c.task_id)
        .join(Counters, (Counters.job_id == Task.job_id) & (Counters.batch_key == Task.batch_key))
        .order_by(last.c.ended_at.desc())
        .limit(_MOST_ATTEMPTS)
    )
    return [
        Ended((row.worker_id, row.started_at), row.task_id, row.owner_id, row.checkpoint_id, row.outcome, row.error)
        for row in session.execute(query)
    ]


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
