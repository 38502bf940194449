"""The slow half of the housekeeping: deletes what is past its time, and objects that belong to no image.

It runs beside the keeper's rounds, not in them: no slow store may hold up the leases.
"""

import threading
from collections.abc import Callable, Sequence

import structlog
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from farm import exclusions, fleet, orphans, retention, uploads
from farm.config import Settings
from farm.database import Database
from farm.errors import StoreError
from farm.events import record
from farm.lockregister import Lock
from farm.models import Event
from farm.store import Store, delete_each

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
        self._stopped = threading.Event()

    def run(self) -> None:
        """Make rounds until `stop`; outages of Postgres and of the store are waited out."""
        while not self._stopped.wait(min(_BEAT_SECONDS, self._settings.sweep_seconds)):
            self.make_round()

    def stop(self) -> None:
        self._stopped.set()

    def make_round(self) -> None:
        """One round. A step that fails keeps no other from being made."""
        for step in self._steps():
            try:
                step()
            except (SQLAlchemyError, StoreError) as error:
                log.warning("A step of the cleaning failed; the next round tries again.", error=str(error.args[0]))

    def _steps(self) -> Sequence[Callable[[], None]]:
        """In this order: what a job needed may be deleted once the job is."""
        return (
            *(self._prune_events, self._prune_attempts, self._delete_jobs, self._prune_uploads),
            *(self._forget_workers, self._discard, self._discard_uploads, self._sweep),
        )

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
            if not batch or self._stopped.is_set():
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
            fleet.forget_gone(session)
            exclusions.forget_passed(session)

    def _prune_uploads(self) -> None:
        if hours := self._settings.keep_uploads_hours:
            self._log_deleted("uploads", self._in_batches(lambda session: retention.prune_uploads(session, hours)))

    def _discard(self) -> None:
        """Delete objects whose rows are gone: from the store first, so that a crash between is made good."""
        deleted, last = 0, ""
        while not self._stopped.is_set():
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
        with self._database.alone(Lock.SWEEP) as is_alone:
            if not (is_alone and self._is_sweep_due()):
                return
            swept = orphans.sweep(self._database, self._store)
            with self._database.begin() as session:
                record(session, _SWEPT, reason=str(swept))
            log.info("The store was swept.", **vars(swept))

    def _is_sweep_due(self) -> bool:
        """Whether no cleaner has swept lately, by the database's clock."""
        lately = func.now() - func.make_interval(0, 0, 0, 0, 0, 0, self._settings.sweep_seconds)
        with self._database.begin() as session:
            return not session.scalar(
                select(select(Event).where(Event.kind == _SWEPT, Event.created_at > lately).exists())
            )

    def _log_deleted(self, what: str, count: int) -> None:
        if count:
            log.info(f"Deleted {what} past their time.", count=count)
