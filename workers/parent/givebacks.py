"""What workers held that are gone: given back to the queue, as soon as Postgres takes it."""

from collections.abc import Callable
from pathlib import Path

import structlog
from sqlalchemy.exc import SQLAlchemyError

from farm.crashpoints import reach
from farm.db.connection import Database, is_lost_connection
from farm.queue.claimed import AttemptKey
from farm.queue.workers import fleet
from workers.loop.delivery.spool import attempts_in

log = structlog.get_logger(__name__)

GiveBack = Callable[..., object]
"""Returns to the queue what a worker held that is gone, but for what is `spared`: (session, *, spared)."""


class GiveBacks:
    """The workers of this machine that are gone and still hold tasks. Called from one thread."""

    def __init__(self, database: Database, spool_folder: Path, on_given_back: Callable[[], None]) -> None:
        """`on_given_back` is called after each worker whose tasks are back in the queue."""
        self._database = database
        self._spool_folder = spool_folder
        self._on_given_back = on_given_back
        self._waiting: dict[int, tuple[GiveBack, str]] = {}

    def add(self, worker_id: int, give_back: GiveBack, reason: str) -> None:
        """Put a worker on the list; `reason` says why it is gone."""
        self._waiting[worker_id] = (give_back, reason)

    def give_back_all(self) -> None:
        """Give back what they held. While Postgres is away they stay on the list; the keeper may be first."""
        for worker_id, (give_back, reason) in list(self._waiting.items()):
            reach("parent.child_died")
            try:
                with self._database.begin() as session:
                    # First its row, then its tasks: the order of locks.
                    fleet.retire(session, worker_id, reason)
                    give_back(session, spared=self._spooled())
            except OSError as error:
                # What lies rendered there must not be given back: it is looked for again in the next round.
                log.warning("The spool cannot be looked through.", error=str(error))
                return
            except SQLAlchemyError as error:
                log.warning("Could not give back a dead worker's tasks yet.", worker=worker_id, error=str(error))
                if is_lost_connection(error):
                    return
                continue
            del self._waiting[worker_id]
            reach("parent.tasks_returned")
            self._on_given_back()

    def _spooled(self) -> set[AttemptKey]:
        """The attempts whose images lie on this machine and are not delivered yet: they will be.

        Of all workers, not only of the dead one: another may have taken its images over before we noticed.
        """
        return attempts_in(self._spool_folder)
