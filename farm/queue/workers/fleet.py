"""The workers: who is there, what each is doing, who fell silent."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    ColumnElement,
    any_,
    delete,
    func,
    insert,
    literal,
    literal_column,
    select,
    text,
    update,
)
from sqlalchemy.orm import Session

from farm import __version__
from farm.db.clock import is_within_sql
from farm.db.tables.jobs import Attempt
from farm.db.tables.workers import Worker
from farm.errors import NotFound
from farm.queue.attempts import storable
from farm.queue.workers.exclusions import is_out_of_service

HEARD_SECONDS = 30.0
"""Work is left only to workers heard of within this time: ten of the longest heartbeats."""


@dataclass(frozen=True)
class WorkerIdentity:
    """Who a worker says it is when it starts."""

    host: str
    pid: int
    device: str
    device_name: str
    pool: str

    @property
    def name(self) -> str:
        return f"{self.host}/{self.device}"


@dataclass(frozen=True)
class WorkerState:
    """What a worker reported last. `reason` is what keeps it from work; None where nothing does."""

    status: str
    reason: str | None


@dataclass(frozen=True)
class DeviceReport:
    """What a worker reports of its device, for the plan.

    `device_class` is what devices share that render equally fast, `memory_bytes` what a checkpoint and its render
    may use. `residents` are the ids of the checkpoints on the device, the one used last first; `cached` those whose
    weights lie on the host. `busy_seconds` is how long its batch should take from now on; None while it has none.
    """

    device_class: str
    memory_bytes: int
    residents: Sequence[int] = ()
    cached: Sequence[int] = ()
    busy_seconds: float | None = None

    @property
    def values(self) -> Mapping[str, Any]:
        """The same, as `_BEAT` takes it."""
        return {
            "device_class": storable(self.device_class),
            "memory_bytes": self.memory_bytes,
            "residents": list(self.residents),
            "cached": list(self.cached),
            "busy_seconds": self.busy_seconds,
        }


_NO_DEVICE = DeviceReport("", 0)

# A text: each worker sends it every few seconds, and SQLAlchemy would take longer to put it together than Postgres
# to answer it.
_BEAT = text(
    """
    UPDATE workers w
    SET status = :status, checkpoint_id = :checkpoint_id, reason = :reason, last_seen_at = now(),
        lease_until = coalesce(now() + make_interval(secs => CAST(:lease_seconds AS float8)), lease_until),
        device_class = CASE WHEN :has_device THEN :device_class ELSE device_class END,
        memory_bytes = CASE WHEN :has_device THEN :memory_bytes ELSE memory_bytes END,
        residents = CASE WHEN :has_device THEN CAST(:residents AS bigint[]) ELSE residents END,
        cached = CASE WHEN :has_device THEN CAST(:cached AS bigint[]) ELSE cached END,
        free_at = CASE WHEN :has_device THEN now() + make_interval(secs => CAST(:busy_seconds AS float8))
                       ELSE free_at END
    WHERE id = :worker_id
    RETURNING EXISTS (SELECT FROM exclusions x WHERE x.worker_name = w.name AND x.checkpoint_id IS NULL)
    """
)


def states(session: Session, worker_ids: Collection[int]) -> Mapping[int, WorkerState]:
    """The states of these workers, by id; without those that are forgotten."""
    query = select(Worker.id, Worker.status, Worker.reason).where(Worker.id.in_(worker_ids))
    return {worker_id: WorkerState(status, reason) for worker_id, status, reason in session.execute(query)}


def register(session: Session, identity: WorkerIdentity) -> int:
    """Enter a worker that starts; its id is new each time, so that nothing it left behind is taken for it."""
    statement = (
        insert(Worker)
        .values(
            name=identity.name,
            host=identity.host,
            pid=identity.pid,
            device=identity.device,
            device_name=identity.device_name,
            pool=identity.pool,
            status="starting",
            version=__version__,
        )
        .returning(Worker.id)
    )
    return session.execute(statement).scalar_one()


def beat(
    session: Session,
    worker_id: int,
    status: str,
    checkpoint_id: int | None,
    trouble: str | None = None,
    *,
    lease_seconds: float | None = None,
    device: DeviceReport | None = None,
) -> bool:
    """Say that the worker lives, what it does and which checkpoint is resident; hear if it is out of service.

    `trouble` is what keeps it from work though it lives, as people are to read it. `lease_seconds` is for how long
    it holds its tasks from now on; None where it holds none. `device` is what it
    reports of its device; None leaves that as it is. Raises NotFound where the worker was away for so long that it
    has been forgotten.
    """
    values = {
        "worker_id": worker_id,
        "status": status,
        "checkpoint_id": checkpoint_id,
        "reason": trouble and storable(trouble),
        "lease_seconds": lease_seconds,
        "has_device": device is not None,
        **(device or _NO_DEVICE).values,
    }
    is_out: bool | None = session.execute(_BEAT, values).scalar_one_or_none()
    if is_out is None:
        raise NotFound(f"There is no worker {worker_id} any more.")
    return is_out


def retire(session: Session, worker_id: int, reason: str) -> None:
    """Mark a worker as gone."""
    session.execute(
        update(Worker)
        .where(Worker.id == worker_id, Worker.status != "offline")
        .values(status="offline", reason=storable(reason))
        .execution_options(synchronize_session=False)
    )


def retire_silent(session: Session, silent_seconds: float) -> Sequence[int]:
    """Mark as gone each worker that has sent no sign of life for so long; a worker that speaks again is back.

    One that was heard of so far ahead is silent too: the clock was set back since.
    """
    silence = func.make_interval(0, 0, 0, 0, 0, 0, silent_seconds)
    statement = (
        update(Worker)
        .where(
            Worker.status != "offline",
            ~Worker.last_seen_at.between(func.now() - silence, func.now() + silence),
        )
        .values(status="offline", reason="not heard of")
        .returning(Worker.id)
        .execution_options(synchronize_session=False)
    )
    return session.scalars(statement).all()


def forget_gone(session: Session, after: int = 0, limit: int = 1_000) -> int:
    """Delete workers that have been gone for a week and are named by no attempt.

    So many are looked at, from the one after `after` on: each start of a worker leaves a row, and most are named by
    attempts for good. Returns where to go on next time.
    """
    a_week_ago = func.now() - func.make_interval(0, 0, 0, 7)
    gone = select(Worker.id).where(Worker.id > after, Worker.status == "offline", Worker.last_seen_at < a_week_ago)
    looked_at = session.scalars(gone.order_by(Worker.id).limit(limit)).all()
    is_named = select(Attempt.worker_id).where(Attempt.worker_id == Worker.id).exists()
    session.execute(
        delete(Worker)
        .where(
            Worker.id == any_(literal(looked_at, ARRAY(BigInteger))),
            # Again: one may have come back.
            Worker.status == "offline",
            ~is_named,
        )
        .execution_options(synchronize_session=False)
    )
    return looked_at[-1] if len(looked_at) == limit else 0


def workers_in_service(session: Session, pool: str) -> int:
    """How many workers may take work of the pool."""
    query = select(func.count()).where(Worker.pool == pool, is_in_service())
    return session.execute(query).scalar_one()


def is_in_service() -> ColumnElement[bool]:
    """Whether a worker lives, is not ending, and may take work; one just restored may, whatever it says still."""
    return literal_column(is_up_sql("workers"), Boolean()) & ~is_out_of_service()


def takes_work() -> ColumnElement[bool]:
    """Whether a worker takes work now: it is in service and ready."""
    return is_in_service() & literal_column(f"({is_ready_sql('workers')})", Boolean())


def is_up_sql(worker: str) -> str:
    """SQL for whether a worker lives and is not ending. `worker` names a row of the table."""
    return f"{worker}.status NOT IN ('offline', 'draining')"


def is_ready_sql(worker: str) -> str:
    """SQL for whether a worker has opened its device, was heard of recently, and is in no trouble."""
    return (
        f"{worker}.status IN ('idle', 'busy') AND {worker}.reason IS NULL "
        f"AND {is_within_sql(f'{worker}.last_seen_at', HEARD_SECONDS)}"
    )
