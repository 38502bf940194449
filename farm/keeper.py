"""The housekeeping: expires leases, cancels what is overdue, notices silent workers, rings for forgotten work.

Any number of keepers may run at once; each round is a few short transactions that step aside for others.
What may take long, deleting and sweeping, is done beside it by `farm.cleaner`.
"""

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial

import structlog
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from farm import fleet, lifecycle, losses
from farm.claimable import is_claimable
from farm.config import Settings
from farm.crashpoints import reach
from farm.database import Database, is_lost_connection
from farm.models import Counters, Job, Task, Worker
from farm.queue import Doorbell

log = structlog.get_logger(__name__)

_SILENT_LEASES = 2.0
_MOST_RINGS = 16
# A round must not stand still over one job of a million images; the next one goes on with it.
_MOST_CANCELLED = 10_000


class Keeper:
    """Makes a round every `keeper_seconds`, until stopped."""

    def __init__(self, settings: Settings, database: Database, doorbell: Doorbell) -> None:
        self._settings = settings
        self._database = database
        self._doorbell = doorbell
        self._stopped = threading.Event()
        self._patient_until = 0.0

    def run(self) -> None:
        """Make rounds until `stop`; an outage of Postgres is waited out."""
        while not self._stopped.wait(self._settings.keeper_seconds):
            self.make_round()

    def stop(self) -> None:
        self._stopped.set()

    def make_round(self) -> None:
        """One round. Each step stands alone: one that fails keeps no other from being made.

        1. Leases that have ended: their tasks are queued again, or set aside when they lost too many workers.
        2. Jobs past their deadline: what has not started is cancelled.
        3. Workers not heard of for two leases are marked as gone.
        4. Pools with work that could be claimed now and workers that idle: ring. This covers a lost
           ring, a flushed Redis, a crash between commit and ring, and a `not_before` that has come.
        """
        steps = (self._expire, self._cancel_overdue, self._look_after_workers, self._ring)
        was_away = [self._attempt(step) for step in steps]
        if all(was_away):
            # Whoever renders could not renew either: after an outage each gets a lease's time to speak.
            self._patient_until = time.monotonic() + self._settings.lease_seconds

    def _attempt(self, step: Callable[[], None]) -> bool:
        """Make a step; whether Postgres was away. One step that keeps losing its connection is no outage."""
        try:
            step()
        except SQLAlchemyError as error:
            log.warning("A step of the round failed; the next round tries again.", error=str(error.args[0]))
            return is_lost_connection(error)
        except Exception:  # a bug in one step must not stop the leases of the whole farm from ending
            log.exception("A step of the round failed; the next round tries again.")
        return False

    def _expire(self) -> None:
        if time.monotonic() < self._patient_until:
            return
        try:
            self._expire_some()
        except SQLAlchemyError as error:
            if is_lost_connection(error):
                raise
            log.warning("Leases could not be ended together.", error=str(error.args[0]))
            self._expire_one_by_one()

    def _expire_one_by_one(self) -> None:
        """One task that cannot be taken back must not hold up all others."""
        with self._database.begin() as session:
            task_ids = losses.expired(session)
        for task_id in task_ids:
            self._attempt(partial(self._expire_some, task_id))

    def _expire_some(self, task_id: int | None = None) -> None:
        with self._database.begin() as session:
            expired = losses.expire(session, task_id=task_id)
            if expired:
                reach("keeper.expiring")
        if expired:
            log.warning("Leases ended without a word.", tasks=expired)
            reach("keeper.expired")

    def _cancel_overdue(self) -> None:
        with self._database.begin() as session:
            job_ids = overdue_jobs(session)
        for job_id in job_ids:
            self._attempt(partial(self._cancel_queued, job_id))

    def _cancel_queued(self, job_id: int) -> None:
        with self._database.begin() as session:
            cancel_queued(session, job_id, "the deadline has passed")

    def _look_after_workers(self) -> None:
        with self._database.begin() as session:
            fleet.retire_silent(session, _SILENT_LEASES * self._settings.lease_seconds)

    def _ring(self) -> None:
        """As many rings as workers: one alone may be heard by a parent whose worker is busy, or has just died."""
        with self._database.begin() as session:
            workers = {pool: fleet.workers_in_service(session, pool) for pool in pools_to_ring(session)}
        for pool, count in workers.items():
            self._doorbell.ring(pool, times=min(count, _MOST_RINGS))


def overdue_jobs(session: Session) -> Sequence[int]:
    """The unfinished jobs past their deadline that still have something queued."""
    has_queued = select(Counters.job_id).where(Counters.job_id == Job.id, Counters.has_queued).exists()
    query = select(Job.id).where(Job.deadline <= func.now(), Job.finished_at.is_(None), has_queued)
    return session.scalars(query).all()


def cancel_queued(session: Session, job_id: int, reason: str) -> None:
    """Cancel what has not started of a job, so much at a time; what is rendering finishes."""
    queued = Task.job_id == job_id, Task.status == "queued"
    chosen = lifecycle.lock(lifecycle.CANCEL, *queued, skip_locked=True).limit(_MOST_CANCELLED)
    lifecycle.move(session, lifecycle.CANCEL, chosen, reason=reason)


def pools_to_ring(session: Session) -> list[str]:
    """The pools that have both claimable work and an idle worker."""
    query = (
        select(Counters.pool)
        .where(
            is_claimable(),
            Counters.pool.in_(select(Worker.pool).where(Worker.status == "idle")),
        )
        .distinct()
    )
    return list(session.scalars(query))
