"""The housekeeping: ends leases, cancels what is overdue, notices silent workers, rings for forgotten work.

Any number of keepers may run at once; each round is a few short transactions that step aside for others.
What may take long, deleting and sweeping, is done beside it by `farm.upkeep.cleaner`.
"""

import time
from collections.abc import Callable, Mapping
from functools import partial

import structlog
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from farm.config import Settings
from farm.crashpoints import reach
from farm.db.clock import ClockWatch
from farm.db.connection import Database, is_lost_connection
from farm.db.tables.jobs import Counters
from farm.db.tables.workers import Worker
from farm.queue import losses
from farm.queue.deadlines import cancel_queued, overdue_jobs
from farm.queue.doorbell import Doorbell
from farm.queue.offers import corrections
from farm.queue.offers.claimable import is_claimable
from farm.queue.offers.corrections import QueueKey
from farm.queue.workers import fleet
from farm.upkeep.rounds import Rounds, Step, attempt_in_spite_of_bugs

log = structlog.get_logger(__name__)

_SILENT_LEASES = 2.0
_MOST_RINGS = 16
_CORRECTIONS: Mapping[str, Callable[[Session], object]] = {
    "adopt lines": corrections.adopt_lines,
    "wake lines": corrections.wake_lines,
}
_CORRECTIONS_IN_PARTS: Mapping[str, Callable[[Session, QueueKey], QueueKey]] = {
    "open queues": corrections.open_missing_queues,
    "close queues": corrections.close_empty_queues,
}
"""In order. Each is a transaction of its own: one that fails leaves the others be. The latter go through all
owners, so many in a round."""


class Keeper:
    """Makes a round every `keeper_seconds`, until stopped."""

    def __init__(self, settings: Settings, database: Database, doorbell: Doorbell) -> None:
        self._settings = settings
        self._database = database
        self._doorbell = doorbell
        self._patient_until = 0.0
        self._reached = dict.fromkeys(_CORRECTIONS_IN_PARTS, corrections.FIRST)
        self._clock = ClockWatch()
        self._may_be_ahead = True
        self._rounds = Rounds(self.make_round, seconds=settings.keeper_seconds)

    def run(self) -> None:
        """Make rounds until `stop`; an outage of Postgres is waited out.

        No lease is ended at first: the keeper may start after an outage, in which no worker could renew. Nor where
        Postgres' clock was set: the leases of workers that live would seem to have ended.
        """
        self._be_patient()
        self._rounds.run()

    def stop(self) -> None:
        self._rounds.stop()

    def make_round(self) -> None:
        """One round. Each step stands alone: one that fails keeps no other from being made.

        1. Leases that have ended: their tasks are queued again, or set aside when they lost too many workers.
        2. Workers not heard of for two leases are marked as gone.
        3. Jobs past their deadline: what has not started is cancelled.
        4. Lines whose `not_before` has come are made ready, and what else leads claims to lines is corrected.
        5. Pools with work that could be claimed now and workers that idle: ring. This covers a lost
           ring, a flushed Redis, a crash between commit and ring, and a `not_before` that has come.

        What claims and publishes appended is folded by the leader alone (`farm.planner.leader`), which keeps the
        books of charges and speeds.
        """
        judging = {"expire leases": self._expire, "look after workers": self._look_after_workers}
        steps: dict[str, Step] = {
            **({"watch the clock": self._watch_clock} if self._is_patient else judging),
            "cancel overdue jobs": self._cancel_overdue,
            **({"cut times": self._cut_times} if self._may_be_ahead else {}),
            **{name: partial(self._correct, correct) for name, correct in _CORRECTIONS.items()},
            **{name: partial(self._correct_part, name) for name in _CORRECTIONS_IN_PARTS},
            "ring": self._ring,
        }
        was_away = [attempt_in_spite_of_bugs(step, name) for name, step in steps.items()]
        if all(was_away):
            # Workers could not renew either: after an outage each gets a lease's time to report. A single step
            # that keeps losing its connection is no outage.
            self._be_patient()

    @property
    def _is_patient(self) -> bool:
        return time.monotonic() < self._patient_until

    def _be_patient(self) -> None:
        self._patient_until = time.monotonic() + self._settings.lease_seconds

    def _watch_clock(self) -> None:
        with self._database.begin() as session:
            self._may_judge(session)

    def _may_judge(self, session: Session) -> bool:
        """Whether leases that lie in the past by this transaction's time have ended: not if the clock was set.

        A worker that lives has more than half of its lease left: a step of less than a quarter ends none.
        """
        step = self._clock.look(session)
        if abs(step) > self._settings.lease_seconds / 4:
            log.warning("Postgres' clock was set. Workers get a lease's time to report.", seconds=round(step, 1))
            self._may_be_ahead = True
            self._be_patient()
        return not self._is_patient

    def _expire(self) -> None:
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
            attempt_in_spite_of_bugs(partial(self._expire_some, task_id), f"expire the lease of task {task_id}")

    def _expire_some(self, task_id: int | None = None) -> None:
        with self._database.begin() as session:
            expired = losses.expire(session, task_id=task_id) if self._may_judge(session) else 0
            if expired:
                reach("keeper.expiring")
        if expired:
            log.warning("Leases ended without a word.", tasks=expired)
            reach("keeper.expired")

    def _cancel_overdue(self) -> None:
        with self._database.begin() as session:
            job_ids = overdue_jobs(session)
        for job_id in job_ids:
            attempt_in_spite_of_bugs(partial(self._cancel_queued, job_id), f"cancel job {job_id}")

    def _cancel_queued(self, job_id: int) -> None:
        with self._database.begin() as session:
            cancel_queued(session, job_id, "the deadline has passed")

    def _look_after_workers(self) -> None:
        with self._database.begin() as session:
            if self._may_judge(session):
                fleet.retire_silent(session, _SILENT_LEASES * self._settings.lease_seconds)

    def _cut_times(self) -> None:
        with self._database.begin() as session:
            self._may_be_ahead = corrections.cut_times(session)

    def _correct(self, correct: Callable[[Session], object]) -> None:
        with self._database.begin() as session:
            correct(session)

    def _correct_part(self, name: str) -> None:
        with self._database.begin() as session:
            reached = _CORRECTIONS_IN_PARTS[name](session, self._reached[name])
        self._reached[name] = reached

    def _ring(self) -> None:
        """As many rings as workers: one alone may be heard by a parent whose worker is busy, or has just died."""
        with self._database.begin() as session:
            workers = {pool: fleet.workers_in_service(session, pool) for pool in pools_to_ring(session)}
        for pool, count in workers.items():
            self._doorbell.ring(pool, times=min(count, _MOST_RINGS))


def pools_to_ring(session: Session) -> list[str]:
    """The pools that have both claimable work and an idle worker."""
    idle = select(Worker.pool).where(Worker.status == "idle").distinct().subquery()
    has_work = select(Counters.job_id).where(Counters.pool == idle.c.pool, is_claimable()).correlate(idle)
    return list(session.scalars(select(idle.c.pool).where(has_work.exists())))
