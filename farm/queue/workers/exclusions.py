"""Which workers are to render nothing, or nothing of one checkpoint, and why.

One table serves three uses: a person drains a worker; the farm takes a worker out of service; the farm
keeps a worker from a checkpoint. When the farm does so by itself stands in `farm.queue.quarantine`. A worker is
meant by its name, which outlives its process.
"""

from sqlalchemy import Boolean, ColumnElement, delete, func, literal_column, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from farm.db.events import record
from farm.db.tables.weights import Checkpoint
from farm.db.tables.workers import Exclusion, MemoryLimit, Worker
from farm.errors import Conflict, NotFound

AVOIDED_SECONDS = 3600.0
"""How long a worker is kept from a checkpoint before it may try again: what was wrong there may have passed."""

_KEY = ["worker_name", "checkpoint_id"]
_MOST_NAMED = 20


def drained_by(user: str, note: str | None = None) -> str:
    """The reason of a drain, as everybody reads it."""
    return f"drained by {user}: {note}" if note else f"drained by {user}"


def drain(session: Session, worker_name: str, reason: str) -> None:
    """Let a worker finish what it renders and claim nothing more, until it is restored. Raises NotFound."""
    _require(session, worker_name)
    session.execute(
        upsert(Exclusion)
        .values(worker_name=worker_name, reason=reason)
        .on_conflict_do_update(index_elements=_KEY, set_={"reason": reason, "created_at": func.now()})
    )
    record(session, "worker.drained", reason=f"{worker_name}: {reason}")


def take_out_of_service(session: Session, worker_name: str, reason: str) -> bool:
    """The farm's own drain, with its evidence; False if the worker is out of service already."""
    statement = (
        upsert(Exclusion)
        .values(worker_name=worker_name, reason=reason)
        .on_conflict_do_nothing(index_elements=_KEY)
        .returning(Exclusion.id)
    )
    is_new = session.execute(statement).first() is not None
    if is_new:
        record(session, "worker.excluded", reason=f"{worker_name}: {reason}")
    return is_new


def avoid(session: Session, worker_name: str, checkpoint_id: int, reason: str) -> bool:
    """Keep a worker from a checkpoint while another worker can render it; False if it is kept from it already."""
    statement = (
        upsert(Exclusion)
        .values(worker_name=worker_name, checkpoint_id=checkpoint_id, reason=reason)
        .on_conflict_do_update(
            index_elements=_KEY, set_={"reason": reason, "created_at": func.now()}, where=~is_in_force()
        )
        .returning(Exclusion.id)
    )
    is_new = session.execute(statement).first() is not None
    if is_new:
        name = session.get_one(Checkpoint, checkpoint_id).name
        record(session, "checkpoint.avoided", reason=f"{name} on {worker_name}: {reason}")
    return is_new


def restore(session: Session, worker_name: str, checkpoint_name: str | None = None) -> None:
    """Let a worker render again: all that it was kept from, sizes that did not fit too, or one checkpoint.

    Raises NotFound for an unknown worker, Conflict where there is nothing to lift.
    """
    _require(session, worker_name)
    kept_from = session.scalars(select(Exclusion).where(Exclusion.worker_name == worker_name)).all()
    lifted = [x for x in kept_from if checkpoint_name in (None, x.checkpoint and x.checkpoint.name)]
    limits = _forget_limits(session, worker_name) if checkpoint_name is None else 0
    what = f"checkpoint {checkpoint_name!r}" if checkpoint_name is not None else "all work"
    if not lifted and not limits:
        raise Conflict(f"Worker {worker_name} is not kept from {what}.")
    session.execute(
        delete(Exclusion)
        .where(Exclusion.id.in_([exclusion.id for exclusion in lifted]))
        .execution_options(synchronize_session=False)
    )
    record(session, "worker.restored", reason=f"{worker_name}: {what}")


def _forget_limits(session: Session, worker_name: str) -> int:
    """Let the worker try all sizes again; return for how many families it was kept from some."""
    statement = delete(MemoryLimit).where(MemoryLimit.worker_name == worker_name)
    return session.connection().execute(statement).rowcount


def forget_passed(session: Session) -> None:
    """Delete what is no longer in force, a day after it was entered: every claim reads these tables."""
    a_day_ago = func.now() - func.make_interval(0, 0, 0, 1)
    for table in (Exclusion, MemoryLimit):
        passed = table.created_at < a_day_ago
        if table is Exclusion:
            passed &= Exclusion.checkpoint_id.is_not(None)
        session.execute(delete(table).where(passed).execution_options(synchronize_session=False))


def in_force(session: Session) -> list[Exclusion]:
    """What is excluded now: by the workers' names, a worker's being out of service first."""
    query = (
        select(Exclusion)
        .where(is_in_force())
        .order_by(Exclusion.worker_name, Exclusion.checkpoint_id.nulls_first())
    )
    return list(session.scalars(query))


def is_in_force() -> ColumnElement[bool]:
    """Whether an exclusion holds still: being out of service until somebody restores, the rest for a time."""
    return literal_column(is_in_force_sql("exclusions"), Boolean())


def is_in_force_sql(exclusion: str) -> str:
    """SQL for the same. `exclusion` names a row of the table."""
    return f"({exclusion}.checkpoint_id IS NULL OR {is_recent_sql(exclusion)})"


def is_recent_sql(row: str) -> str:
    """SQL for whether something is so recent that it is still held against a worker."""
    return f"({row}.created_at > now() - make_interval(secs => {AVOIDED_SECONDS}))"


def is_out_of_service() -> ColumnElement[bool]:
    """Whether the worker of a row is to render nothing at all."""
    return (
        select(Exclusion.id)
        .where(Exclusion.worker_name == Worker.name, Exclusion.checkpoint_id.is_(None))
        .correlate(Worker)
        .exists()
    )


def _require(session: Session, worker_name: str) -> None:
    """A worker that is switched off may be meant too, and one long forgotten that is excluded still."""
    known = sorted(session.scalars(select(Worker.name).union(select(Exclusion.worker_name))))
    if worker_name not in known:
        named = ", ".join(known[:_MOST_NAMED]) or "none yet"
        raise NotFound(f"There is no worker {worker_name!r}. Known: {named}.")
