"""How a worker comes by work: it claims a batch. How it keeps it stands in `farm.queue.leases`.

Only the database's clock enters a lease. A claim is one short transaction; nothing is rendered or
uploaded inside one. How an attempt ends stands in `farm.queue.endings`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from pydantic import ValidationError
from sqlalchemy import ARRAY, BigInteger, any_, func, literal, select, text
from sqlalchemy.orm import Session, aliased

from farm.db.tables.dispatch import SeatRow
from farm.db.tables.jobs import Counters, Job, Task
from farm.db.tables.weights import Checkpoint
from farm.db.tables.workers import Worker
from farm.errors import Raced
from farm.queue import leases, lifecycle
from farm.queue.attempts import open_attempts
from farm.queue.claimed import WITH_WORKER, Lease, Unreadable
from farm.queue.offers.candidates import BY_INDEXES, FAR, IS_ANYTHING_LEFT, IS_PLANNED, NEAR, SEATED, UNSEATED
from farm.spec.modes import read_spec
from farm.weights.blobs import StoredFile, read_files

_BY_INDEXES = text(BY_INDEXES)
_SEATED = text(SEATED).columns(Task.id, Task.status)
_UNSEATED = text(UNSEATED).columns(Task.id, Task.status)
_IS_PLANNED = text(IS_PLANNED)
_IS_ANYTHING_LEFT = text(IS_ANYTHING_LEFT)

POLLS_A_LOOK = 5
"""A worker that finds nothing and is not rung looks beyond its seat only at one poll in so many: of a thousand
workers a hundred may be idle, and each look takes Postgres some milliseconds."""

_CHECKPOINT = ("id", "name", "family", "sha256", "location", "files")
_Next = aliased(Checkpoint)


@dataclass(frozen=True)
class ClaimedCheckpoint:
    """Which weights a claimed batch needs and where they lie: `files` in the store, else a folder at `location`."""

    id: int
    name: str
    family: str
    sha256: str
    location: str
    files: tuple[StoredFile, ...] | None = None

    @property
    def size_bytes(self) -> int:
        """How much of it may have to be fetched."""
        return sum(file.size for file in self.files or ())


@dataclass(frozen=True)
class Batch:
    """Tasks claimed together, that one pipeline call can render: they share this batch key.

    Those that cannot be read are apart, to be failed. `seconds` is how long the device is expected to take;
    `next_checkpoint` is what the plan says it needs after that, to be read meanwhile.
    """

    checkpoint: ClaimedCheckpoint
    leases: tuple[Lease, ...]
    key: str
    unreadable: tuple[Unreadable, ...] = ()
    seconds: float = 0.0
    next_checkpoint: ClaimedCheckpoint | None = None


def claim(
    session: Session,
    worker_id: int,
    *,
    pool: str,
    limit: int,
    lease_seconds: float,
    residents: Sequence[int] = (),
    preferred: Sequence[int] = (),
    passed_over: Collection[str] = (),
    without_jobs: Collection[int] = (),
    by_seat_alone: bool = False,
) -> Batch | None:
    """Claim the next batch for a worker: at most `limit` tasks that share a batch key; None if there is none.

    1. What the worker's seat says, while the plan is fresh.
    2. Else what it finds by itself; where that is nothing, and something is left, it looks further.
    3. A job that may have only so many devices is counted again, under a lock.

    `residents` are the ids of the checkpoints on the worker's device: what needs others is left to the plan for
    some seconds, while there is a fresh one. Those `preferred` come first among equals. `passed_over` are batch
    keys that the worker cannot serve at this moment, and another may. Raises Raced where other claims hold all that
    it could take, or no device is left for some jobs: roll back, and try again `without_jobs` that it names.
    `by_seat_alone`: beside a fresh plan nothing is looked for besides the seat, which takes a tenth of the time.
    """
    seated = {
        "pool": pool,
        "claimant": worker_id,
        "passed_over": list(passed_over),
        "without_jobs": list(without_jobs),
    }
    unseated = {**seated, "residents": list(residents), "preferred": list(preferred)}
    values = {"attempt": Task.attempt + 1, "worker_id": worker_id, "lease_until": WITH_WORKER}
    session.execute(_BY_INDEXES)
    leases.start(session, worker_id, lease_seconds)
    take = partial(lifecycle.move, session, lifecycle.CLAIM, values=values)
    moved = take(_SEATED.bindparams(**seated, limit=limit))
    if not moved and by_seat_alone and session.scalar(_IS_PLANNED, {"pool": pool}):
        return None
    if not moved:
        moved = take(_UNSEATED.bindparams(**unseated, **NEAR, limit=limit))
    if not moved:
        if not session.scalar(_IS_ANYTHING_LEFT, {**unseated, **FAR}):
            return None
        moved = take(_UNSEATED.bindparams(**unseated, **FAR, limit=limit))
    if not moved:
        raise Raced
    open_attempts(session, moved)
    batch = _batch(session, pool, [m.task_id for m in moved])
    return replace(batch, seconds=sum(m.charged_seconds for m in moved))


def _batch(session: Session, pool: str, task_ids: Sequence[int]) -> Batch:
    """What a worker must know of the tasks it claimed. They share a batch key, hence a checkpoint. Raises Raced."""
    of_task = (Task.id, Task.job_id, Task.attempt, Task.spec)
    of_checkpoint = [getattr(Checkpoint, name) for name in _CHECKPOINT]
    of_next = [getattr(_Next, name) for name in _CHECKPOINT]
    rows = (
        session.connection()
        .execute(
            select(*of_task, *of_checkpoint, *of_next, Counters.batch_key, Counters.max_devices)
            .join(Counters, (Counters.job_id == Task.job_id) & (Counters.batch_key == Task.batch_key))
            .join(Checkpoint, Checkpoint.id == Counters.checkpoint_id)
            .outerjoin(SeatRow, SeatRow.worker_id == Task.worker_id)
            .outerjoin(_Next, _Next.id == SeatRow.next_checkpoint_id)
            .where(Task.id == any_(literal(task_ids, ARRAY(BigInteger))))
            .order_by(Task.job_id, Task.seq)
        )
        .all()
    )
    _require_devices(session, pool, {row.job_id: row.max_devices for row in rows if row.max_devices is not None})
    width = len(_CHECKPOINT)
    columns = rows[0][len(of_task) :]
    read = [_lease(*row[: len(of_task)]) for row in rows]
    return Batch(
        _claimed_checkpoint(*columns[:width]),
        tuple(lease for lease in read if isinstance(lease, Lease)),
        rows[0].batch_key,
        tuple(lease for lease in read if isinstance(lease, Unreadable)),
        next_checkpoint=None if columns[width] is None else _claimed_checkpoint(*columns[width : 2 * width]),
    )


def _claimed_checkpoint(*columns: Any) -> ClaimedCheckpoint:
    known = dict(zip(_CHECKPOINT, columns, strict=True))
    return ClaimedCheckpoint(**{**known, "files": read_files(known["files"])})


def _require_devices(session: Session, pool: str, most: Mapping[int, int]) -> None:
    """Raise Raced where a job, by its id, would be rendered by more devices than it may now.

    Two claims of one job, each counting before the other commits, would both find a device left: so each locks it,
    and counts then. Whoever finds it locked does not wait. A job that may
    have every device of its pool needs no count.
    """
    if not most:
        return
    workers = session.scalar(select(func.count()).where(Worker.pool == pool, Worker.status != "offline")) or 0
    most = {job_id: count for job_id, count in most.items() if count < workers}
    lock = select(Job.id).where(Job.id.in_(most)).order_by(Job.id).with_for_update(key_share=True, skip_locked=True)
    if locked_by_others := most.keys() - set(session.scalars(lock)):
        raise Raced(locked_by_others)
    devices = (
        select(Task.job_id, func.count(Task.worker_id.distinct()))
        .where(Task.job_id.in_(most), Task.status == "running")
        .group_by(Task.job_id)
    )
    if full := [job_id for job_id, count in session.execute(devices) if count > most[job_id]]:
        raise Raced(full)


def _lease(task_id: int, job_id: int, attempt: int, spec: Mapping[str, Any]) -> Lease | Unreadable:
    """A spec that cannot be read ends its own attempt: raised here, it would undo the claim, again and again."""
    try:
        return Lease(task_id, job_id, attempt, read_spec(spec))
    except ValidationError as error:
        return Unreadable(task_id, job_id, attempt, f"This release cannot read what is to be rendered: {error}")
