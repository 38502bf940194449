"""The housekeeping: expires leases, cancels what is overdue, notices silent workers, rings for forgotten work.

Any number of keepers may run at once; each round is a few short transactions that step aside for others.
"""

import threading

import structlog
from sqlalchemy import func, or_, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from farm import endings, fleet, lifecycle
from farm.config import Settings
from farm.database import Database
from farm.models import Counters, Job, Task, Worker
from farm.queue import Doorbell

log = structlog.get_logger(__name__)

_SILENT_LEASES = 2.0


class Keeper:
    """Makes a round every `keeper_seconds`, until stopped."""

    def __init__(self, settings: Settings, database: Database, doorbell: Doorbell) -> None:
        self._settings = settings
        self._database = database
        self._doorbell = doorbell
        self._stopped = threading.Event()

    def run(self) -> None:
        """Make rounds until `stop`; an outage of Postgres is waited out."""
        while not self._stopped.wait(self._settings.keeper_seconds):
            try:
                self.make_round()
            except SQLAlchemyError as error:
                log.warning("A round failed; the next will try again.", error=str(error.args[0]))

    def stop(self) -> None:
        self._stopped.set()

    def make_round(self) -> None:
        """One round.

        1. Leases that have ended: their tasks are queued again, or set aside when no try is left.
        2. Jobs past their deadline: what has not started is cancelled.
        3. Workers not heard of for two leases are marked as gone.
        4. Pools with work that could be claimed now and workers that idle: ring. This covers a lost
           ring, a flushed Redis, a crash between commit and ring, and a `not_before` that has come.
        """
        with self._database.begin() as session:
            if expired := endings.expire(session):
                log.warning("Leases ended without a word.", tasks=expired)
        with self._database.begin() as session:
            cancel_overdue(session)
        with self._database.begin() as session:
            fleet.retire_silent(session, _SILENT_LEASES * self._settings.lease_seconds)
        with self._database.begin() as session:
            pools = pools_to_ring(session)
        for pool in pools:
            self._doorbell.ring(pool)


def cancel_overdue(session: Session) -> int:
    """Cancel the queued tasks of every job whose deadline has passed; return how many."""
    overdue = select(Job.id).where(Job.deadline <= func.now(), Job.finished_at.is_(None))
    job_ids = session.scalars(overdue).all()
    if not job_ids:
        return 0
    chosen = lifecycle.lock(lifecycle.CANCEL, Task.job_id.in_(job_ids), Task.status == "queued", skip_locked=True)
    return len(lifecycle.move(session, lifecycle.CANCEL, chosen, reason="the deadline has passed"))


def pools_to_ring(session: Session) -> list[str]:
    """The pools that have both claimable work and an idle worker."""
    query = (
        select(Counters.pool)
        .where(
            Counters.is_open,
            Counters.has_queued,
            or_(Counters.not_before.is_(None), Counters.not_before <= func.now()),
            Counters.pool.in_(select(Worker.pool).where(Worker.status == "idle")),
        )
        .distinct()
    )
    return list(session.scalars(query))
