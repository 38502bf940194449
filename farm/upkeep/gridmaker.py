"""Draws the grids of sweeps that have ended, beside the keeper; one process in a farm does so at a time."""

from collections.abc import Sequence

import structlog
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from farm.config import Settings
from farm.db.connection import Database
from farm.db.locks import Lock
from farm.db.tables.jobs import Job
from farm.errors import FarmError
from farm.sheets.grids import delete_discarded, draw_job
from farm.store.protocol import Store
from farm.upkeep.rounds import Rounds, attempt, run_alone

log = structlog.get_logger(__name__)

_MOST_JOBS = 20
_PAUSE_SECONDS = 1.0


class GridMaker:
    """Draws what is due every second, until stopped."""

    def __init__(self, settings: Settings, database: Database, store: Store) -> None:
        self._database = database
        self._store = store
        self._last_tried = 0
        self._rounds = Rounds(self.make_round, seconds=max(_PAUSE_SECONDS, settings.keeper_seconds))

    def run(self) -> None:
        """Make rounds until `stop`; outages of Postgres and of the store are waited out."""
        self._rounds.run()

    def stop(self) -> None:
        self._rounds.stop()

    def make_round(self) -> None:
        """Delete what was drawn in vain, then draw the grids of sweeps that have ended.

        What fails is tried again in a later round, and keeps no other from being done.
        """
        attempt(lambda: run_alone(self._database, Lock.GRIDS, self._look_after_grids), "draw the grids")

    def _look_after_grids(self) -> None:
        attempt(lambda: delete_discarded(self._database, self._store), "delete what was drawn in vain")
        for job_id in self._due():
            self._draw(job_id)

    def _due(self) -> Sequence[int]:
        """The next that are due; after the last ones the first again, however many of them cannot be drawn."""
        with self._database.begin() as session:
            is_due = Job.awaits_grid & Job.finished_at.is_not(None) & (Job.id > self._last_tried)
            due = session.scalars(select(Job.id).where(is_due).order_by(Job.id).limit(_MOST_JOBS)).all()
        self._last_tried = due[-1] if len(due) == _MOST_JOBS else 0
        return due

    def _draw(self, job_id: int) -> None:
        """A request may be from a release that knew what this one does not: that is a ValueError."""
        try:
            count = draw_job(self._database, self._store, job_id)
            log.info("Drew the grids of a sweep.", job_id=job_id, grids=count)
        except (SQLAlchemyError, FarmError, ValueError) as error:
            log.warning("Could not draw a grid yet.", job_id=job_id, error=str(error).split("\n", 1)[0])
