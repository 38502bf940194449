"""The slow half of the housekeeping: deletes what is past its time, and objects that belong to no image.

It runs beside the keeper's rounds, not in them: no slow store may hold up the leases.
"""

from collections.abc import Callable, Mapping

import structlog
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from farm.config import Settings
from farm.db.connection import Database
from farm.db.events import record
from farm.db.locks import Lock
from farm.db.tables.jobs import Event
from farm.pictures import uploads
from farm.queue.workers import exclusions, fleet
from farm.store.protocol import Store, delete_each
from farm.upkeep import orphans, retention
from farm.upkeep.rounds import Rounds, attempt, run_alone

log = structlog.get_logger(__name__)

_BEAT_SECONDS = 60.0
_MOST_BATCHES = 20
_SWEPT = "store.swept"


class Cleaner:
    """Makes a round every minute, until stopped; any number may do so at once."""

    def __init__(self, settings: Settings, database: Database, store: Store) -> None:
        self._settings = settings
        self._database = database
        self._store = store
        self._last_worker = 0
        self._rounds = Rounds(self.make_round, seconds=min(_BEAT_SECONDS, settings.sweep_seconds))

    def run(self) -> None:
        """Make rounds until `stop`; outages of Postgres and of the store are waited out."""
        self._rounds.run()

    def stop(self) -> None:
        self._rounds.stop()

    def make_round(self) -> None:
        """One round. A step that fails keeps no other from being made."""
        for name, step in self._steps().items():
            attempt(step, name)

    def _steps(self) -> Mapping[str, Callable[[], None]]:
        """In this order: what a job needed may be deleted once the job is."""
        return {
            "prune events": self._prune_events,
            "prune attempts": self._prune_attempts,
            "delete jobs": self._delete_jobs,
            "prune uploads": self._prune_uploads,
            "forget workers": self._forget_workers,
            "delete discarded objects": self._discard,
            "delete discarded uploads": self._discard_uploads,
            "sweep the store": self._sweep,
        }

    def _prune_events(self) -> None:
        if days := self._settings.keep_events_days:
            self._log_deleted("events", self._in_batches(lambda session: retention.prune_events(session, days)))

    def _prune_attempts(self) -> None:
        if days := self._settings.keep_attempts_days:
            self._log_deleted("attempts", self._in_batches(lambda session: retention.prune_attempts(session, days)))

    def _in_batches(self, prune: Callable[[Session], int]) -> int:
        """Prune, each batch in a transaction of its own, until nothing is left or it is enough for this round."""
        deleted = 0
        for _ in range(_MOST_BATCHES):
            with self._database.begin() as session:
                batch = prune(session)
            deleted += batch
            if not batch or self._rounds.is_stopped:
                break
        return deleted

    def _delete_jobs(self) -> None:
        days = self._settings.keep_jobs_days
        if not days:
            return
        with self._database.begin() as session:
            job_ids = retention.old_jobs(session, days)
        for job_id in job_ids:
            try:
                with self._database.begin() as session:
                    is_deleted = retention.delete_job(session, job_id, days)
            except SQLAlchemyError as error:
                # It stays the oldest: ended here, nothing behind it would ever be deleted.
                log.warning("A job could not be deleted.", job_id=job_id, error=str(error.args[0]))
                continue
            if is_deleted:
                log.info("A job was deleted: it ended long ago.", job_id=job_id)

    def _forget_workers(self) -> None:
        """Workers that went long ago, and what was held against some for a time that is over."""
        with self._database.begin() as session:
            reached = fleet.forget_gone(session, self._last_worker)
            exclusions.forget_passed(session)
        self._last_worker = reached

    def _prune_uploads(self) -> None:
        if hours := self._settings.keep_uploads_hours:
            self._log_deleted("uploads", self._in_batches(lambda session: retention.prune_uploads(session, hours)))

    def _discard(self) -> None:
        """Delete objects whose rows are gone: from the store first, so that a crash between is made good."""
        deleted, last = 0, ""
        while not self._rounds.is_stopped:
            with self._database.begin() as session:
                keys = retention.discarded_keys(session, after=last)
            if not keys:
                break
            gone = delete_each(self._store, keys)
            with self._database.begin() as session:
                retention.forget_discarded(session, gone)
            deleted, last = deleted + len(gone), keys[-1]
        self._log_deleted("objects", deleted)

    def _discard_uploads(self) -> None:
        self._log_deleted("objects of uploads", uploads.discard(self._database, self._store))

    def _sweep(self) -> None:
        run_alone(self._database, Lock.SWEEP, self._sweep_if_due)

    def _sweep_if_due(self) -> None:
        if not self._is_sweep_due():
            return
        swept = orphans.sweep(self._database, self._store)
        with self._database.begin() as session:
            record(session, _SWEPT, reason=str(swept))
        log.info("The store was swept.", **vars(swept))

    def _is_sweep_due(self) -> bool:
        """Whether no cleaner has swept recently, by the database's clock."""
        recently = func.now() - func.make_interval(0, 0, 0, 0, 0, 0, self._settings.sweep_seconds)
        with self._database.begin() as session:
            return not session.scalar(
                select(select(Event).where(Event.kind == _SWEPT, Event.created_at > recently).exists())
            )

    def _log_deleted(self, what: str, count: int) -> None:
        if count:
            log.info(f"Deleted {what} past their time.", count=count)
