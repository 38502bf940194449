"""The workers: who is there, what each is doing, who fell silent."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.orm import Session

from farm import __version__
from farm.models import Attempt, Worker


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


def beat(session: Session, worker_id: int, status: str, checkpoint_id: int | None) -> None:
    """Say that the worker lives, what it does and which checkpoint is resident on its device."""
    session.execute(
        update(Worker)
        .where(Worker.id == worker_id)
        .values(status=status, checkpoint_id=checkpoint_id, reason=None, last_seen_at=func.now())
        .execution_options(synchronize_session=False)
    )


def retire(session: Session, worker_id: int, reason: str) -> None:
    """Mark a worker as gone."""
    session.execute(
        update(Worker)
        .where(Worker.id == worker_id, Worker.status != "offline")
        .values(status="offline", reason=reason)
        .execution_options(synchronize_session=False)
    )


def retire_silent(session: Session, silent_seconds: float) -> Sequence[int]:
    """Mark as gone whoever has not been heard of for so long; a worker that speaks again is back."""
    statement = (
        update(Worker)
        .where(
            Worker.status != "offline",
            Worker.last_seen_at < func.now() - func.make_interval(0, 0, 0, 0, 0, 0, silent_seconds),
        )
        .values(status="offline", reason="not heard of")
        .returning(Worker.id)
        .execution_options(synchronize_session=False)
    )
    return session.scalars(statement).all()


def forget_gone(session: Session) -> None:
    """Delete workers that have been gone for a week and are named by no attempt."""
    is_named = select(Attempt.worker_id).where(Attempt.worker_id == Worker.id).exists()
    session.execute(
        delete(Worker)
        .where(
            Worker.status == "offline", Worker.last_seen_at < func.now() - func.make_interval(0, 0, 0, 7), ~is_named
        )
        .execution_options(synchronize_session=False)
    )


def live_workers(session: Session, pool: str) -> int:
    query = select(func.count()).where(Worker.pool == pool, Worker.status != "offline")
    return session.execute(query).scalar_one()
