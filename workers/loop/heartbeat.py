"""Keeps a worker's lease alive; learns what was lost or cancelled, and whether the worker is out of service."""

import threading
from collections.abc import Callable, Collection, Sequence

import structlog
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from farm.config import Settings
from farm.db.connection import Database
from farm.errors import NotFound
from farm.queue import leases, losses
from farm.queue.claimed import AttemptKey, Lease
from farm.queue.workers import fleet
from farm.queue.workers.fleet import DeviceReport
from workers.loop.holdings import Holdings

log = structlog.get_logger(__name__)


class Heartbeat:
    """A thread that renews the worker's lease and reports what the worker does, in one statement and one look.

    What it runs by the record alone is handed back after that, in a transaction that no renewal depends on.
    `database` is its own, so that nothing else can hold up a renewal; `stop` closes it.
    `on_forgotten` is called where the farm knows this worker no more: it must end, and start under a new id.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        worker_id: int,
        holdings: Holdings,
        on_forgotten: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._database = database
        self._worker_id = worker_id
        self._holdings = holdings
        self._on_forgotten = on_forgotten
        self._troubles: dict[str, str] = {}
        self._resident: int | None = None
        self._device: DeviceReport | None = None
        self._status = "idle"
        self._is_out_of_service = False
        self._changed = threading.Event()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped = True
        self._changed.set()
        self._thread.join(5)
        self._database.close()

    def report_status(self, status: str, resident: int | None, device: DeviceReport | None = None) -> None:
        """Report what the worker does and which checkpoint was used last; a change of these is sent at once.

        `device` goes with the next beat that arrives.
        """
        self._device = device or self._device
        if (status, resident) != (self._status, self._resident):
            self._status, self._resident = status, resident
            self._changed.set()

    def report_trouble(self, cause: str, trouble: str | None) -> None:
        """Report what keeps the worker from work, or from a part of it; None: this cause does not any more."""
        before = self._trouble
        # A new dict each time: the heartbeat's own thread may be reading the old one.
        others = {name: other for name, other in self._troubles.items() if name != cause}
        self._troubles = {**others, cause: trouble} if trouble else others
        if self._trouble != before:
            self._changed.set()

    @property
    def _trouble(self) -> str | None:
        return "; ".join(self._troubles.values()) or None

    def _run(self) -> None:
        while not self._stopped:
            self._changed.clear()
            self._beat_once()
            self._changed.wait(self._settings.heartbeat_seconds)

    def _beat_once(self) -> None:
        """Without Postgres nothing is given up: whether a lease still holds is decided when it is back."""
        held = self._holdings.all()
        device = self._device
        try:
            with self._database.begin() as session:
                is_out = fleet.beat(
                    session,
                    self._worker_id,
                    self._status_with(held),
                    self._resident,
                    self._trouble,
                    lease_seconds=self._settings.lease_seconds,
                    device=device,
                )
                running = leases.running(session, self._worker_id)
        except SQLAlchemyError as error:
            log.warning("The heartbeat did not reach Postgres.", worker=self._worker_id, error=str(error.args[0]))
            return
        except NotFound as error:
            log.warning("The farm has forgotten this worker; it starts again under a new id.", error=str(error))
            self._on_forgotten()
            return
        if self._device is device:
            self._device = None
        self._note_service(is_out)
        kept = leases.still_held(held, running)
        for lease in self._holdings.drop(lease for lease in held if lease not in kept):
            log.info("Lost a lease, or the task was cancelled.", **lease.log_fields())
        if overlooked := self._holdings.overlooked(running):
            self._return(overlooked)

    def _return(self, overlooked: Collection[AttemptKey]) -> None:
        """Hand back what the worker does not hold, in a transaction that may fail: the renewal is committed."""
        # Others may hold locks for long, a cancel of a giant job say: the next beat must not be late for that.
        lock_timeout = f"{self._settings.heartbeat_seconds * 500:.0f}ms"
        try:
            with self._database.begin() as session:
                session.execute(text(f"SET LOCAL lock_timeout = '{lock_timeout}'"))
                losses.return_overlooked(session, self._worker_id, overlooked, self._settings.lease_seconds)
        except SQLAlchemyError as error:
            log.warning(
                "Could not hand back tasks that are not held.", worker=self._worker_id, error=str(error.args[0])
            )

    def _status_with(self, held: Sequence[Lease]) -> str:
        """Out of service, where the claim gives it nothing, a worker drains until it holds nothing."""
        if not self._is_out_of_service:
            return self._status
        return "draining" if held or self._status == "draining" else "drained"

    def _note_service(self, is_out_of_service: bool) -> None:
        """A change of service changes the status too, which is reported at once."""
        if is_out_of_service != self._is_out_of_service:
            self._is_out_of_service = is_out_of_service
            self._changed.set()
            log.info("Out of service." if is_out_of_service else "Back in service.", worker=self._worker_id)
