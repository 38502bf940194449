"""How a worker comes by work: it claims a batch. How it keeps it stands in `farm.queue.leases`.

Only the database's clock enters a lease. A claim is one short transaction; nothing is rendered or
uploaded inside one. How an attempt ends stands in `farm.queue.endings`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError
from sqlalchemy import ARRAY, BigInteger, any_, literal, select, text
from sqlalchemy.orm import Session

from farm.db.tables.jobs import Counters, Task
from farm.db.tables.weights import Checkpoint
from farm.queue import leases, lifecycle
from farm.queue.attempts import open_attempts
from farm.queue.claimable import IS_ANYTHING_OFFERED, NEXT
from farm.queue.claimed import WITH_WORKER, Lease, Unreadable
from farm.spec.modes import read_spec
from farm.weights.blobs import StoredFile, read_files

_NEXT = text(NEXT).columns(Task.id, Task.status)
_IS_ANYTHING_OFFERED = text(IS_ANYTHING_OFFERED)

_SHARE_SECONDS = 30.0
_LEFT_SECONDS = 600.0


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

    Those that cannot be read are apart, to be failed.
    """

    checkpoint: ClaimedCheckpoint
    leases: tuple[Lease, ...]
    key: str
    unreadable: tuple[Unreadable, ...] = ()


def claim(
    session: Session,
    worker_id: int,
    *,
    pool: str,
    limit: int,
    lease_seconds: float,
    resident: int | None = None,
    passed_over: Collection[str] = (),
) -> Batch | None:
    """Claim the next batch for a worker: at most `limit` tasks that share a batch key; None if there is none.

    `resident` is the id of the checkpoint loaded on the worker's device, preferred among equals. `passed_over`
    are batch keys that the worker cannot serve at this moment, and another may.
    """

    if not session.scalar(_IS_ANYTHING_OFFERED, {"pool": pool}):
        return None
    chosen = _NEXT.bindparams(
        pool=pool,
        limit=limit,
        claimant=worker_id,
        resident=resident,
        passed_over=list(passed_over),
        share_seconds=_SHARE_SECONDS,
        left_seconds=_LEFT_SECONDS,
    )
    leases.start(session, worker_id, lease_seconds)
    values = {"attempt": Task.attempt + 1, "worker_id": worker_id, "lease_until": WITH_WORKER}
    moved = lifecycle.move(session, lifecycle.CLAIM, chosen.bindparams(untried_only=False), values=values)
    if not moved:
        moved = lifecycle.move(session, lifecycle.CLAIM, chosen.bindparams(untried_only=True), values=values)
    if not moved:
        return None
    open_attempts(session, moved)
    return _batch(session, [m.task_id for m in moved])


def _batch(session: Session, task_ids: Sequence[int]) -> Batch:
    """What a worker must know of the tasks it claimed. They share a batch key, hence a checkpoint."""
    rows = (
        session.connection()
        .execute(
            select(
                *(Task.id, Task.job_id, Task.attempt, Task.spec),
                *(Checkpoint.id, Checkpoint.name, Checkpoint.family, Checkpoint.sha256, Checkpoint.location),
                *(Counters.batch_key, Checkpoint.files),
            )
            .join(Counters, (Counters.job_id == Task.job_id) & (Counters.batch_key == Task.batch_key))
            .join(Checkpoint, Checkpoint.id == Counters.checkpoint_id)
            .where(Task.id == any_(literal(task_ids, ARRAY(BigInteger))))
            .order_by(Task.job_id, Task.seq)
        )
        .all()
    )
    read = [_lease(*row[:4]) for row in rows]
    *named, key, files = rows[0][4:]
    checkpoint = ClaimedCheckpoint(*named)
    return Batch(
        replace(checkpoint, files=read_files(files)),
        tuple(lease for lease in read if isinstance(lease, Lease)),
        key,
        tuple(lease for lease in read if isinstance(lease, Unreadable)),
    )


def _lease(task_id: int, job_id: int, attempt: int, spec: Mapping[str, Any]) -> Lease | Unreadable:
    """A spec that cannot be read ends its own attempt: raised here, it would undo the claim, again and again."""
    try:
        return Lease(task_id, job_id, attempt, read_spec(spec))
    except ValidationError as error:
        return Unreadable(task_id, job_id, attempt, f"This release cannot read what is to be rendered: {error}")
