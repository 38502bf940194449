"""Records in Postgres how attempts ended that brought no image."""

from collections.abc import Callable, Sequence
from functools import partial

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from farm.crashpoints import reach
from farm.db.connection import PASSING, Database
from farm.queue import endings
from farm.queue.claimed import Lease, Unreadable
from workers.loop.holdings import Holdings
from workers.loop.orders import Orders

log = structlog.get_logger(__name__)

Ending = Callable[[Session], object]


class Outcomes:
    """Records how attempts ended. Their leases are held no longer then, whether Postgres took it or not.

    Only `insist_on_hand_back` holds them until it did.
    """

    def __init__(self, database: Database, holdings: Holdings) -> None:
        self._database = database
        self._holdings = holdings

    def hand_back(self, leases: Sequence[Lease], reason: str) -> None:
        """Return tasks without using up a try. If Postgres is away the leases end by themselves."""
        try:
            self._record_hand_back(leases, reason)
        finally:
            self._holdings.drop(leases)

    def insist_on_hand_back(
        self, leases: Sequence[Lease], reason: str, orders: Orders, pause_seconds: float
    ) -> None:
        """As `hand_back`; while Postgres is away the leases are kept, until it is back or this worker is to end."""
        try:
            while not self._record_hand_back(leases, reason) and not orders.is_draining:
                orders.pause(pause_seconds)
        finally:
            self._holdings.drop(leases)

    def fail(self, leases: Sequence[Lease], error: str, *, is_retryable: bool, relief: Sequence[str] = ()) -> None:
        """Fail each task in a transaction of its own: one that locked several would meet the keeper crosswise."""
        for lease in leases:
            log.warning("Attempt ended: failed.", error=error, **lease.log_fields())
            try:
                self._record(partial(_fail, lease=lease, error=error, is_retryable=is_retryable, relief=relief))
            finally:
                self._holdings.drop([lease])
            reach("worker.failed")

    def fail_for_memory(self, leases: Sequence[Lease], error: str, *, relief: Sequence[str]) -> None:
        """What did not fit here may fit elsewhere; each in a transaction of its own, as in `fail`."""
        for lease in leases:
            log.warning("Attempt ended: failed for want of memory.", error=error, **lease.log_fields())
            try:
                self._record(partial(endings.fail_for_memory, held=lease, error=error, relief=relief))
            finally:
                self._holdings.drop([lease])

    def fail_unreadable(self, claimed: Sequence[Unreadable]) -> None:
        """What this release cannot read another one may, while both are in use."""
        for held in claimed:
            log.warning("Attempt ended: failed.", error=held.error, **held.log_fields())
            self._record(partial(endings.fail_unreadable, held=held))

    def _record_hand_back(self, leases: Sequence[Lease], reason: str) -> bool:
        for lease in leases:
            log.info("Attempt ended: handed back.", reason=reason, **lease.log_fields())
        return self._record(partial(_hand_back, leases=leases, reason=reason))

    def _record(self, ending: Ending) -> bool:
        """Whether it is recorded, or no repetition would help; false while Postgres is away or locks are held."""
        try:
            with self._database.begin() as session:
                ending(session)
        except SQLAlchemyError as error:
            log.warning("Could not record how a batch ended.", error=str(error.args[0]))
            return not isinstance(error, PASSING)
        return True


def _hand_back(session: Session, leases: Sequence[Lease], reason: str) -> None:
    endings.hand_back(session, leases, reason)
    reach("worker.handing_back")


def _fail(session: Session, lease: Lease, error: str, *, is_retryable: bool, relief: Sequence[str]) -> None:
    endings.fail(session, lease, error, is_retryable=is_retryable, relief=relief)
    reach("worker.failing")
