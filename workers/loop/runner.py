"""The render loop of one device: claim, render, hand over, repeat."""

import os
import random
from collections.abc import Collection, Sequence

import structlog
from sqlalchemy.exc import SQLAlchemyError

from farm.config import Settings
from farm.crashpoints import reach
from farm.db.connection import Database, Role, is_lost_connection
from farm.errors import DeviceBroken, FarmError, LeaseLost, OutOfMemory, Raced, RenderError, StoreAway
from farm.queue import claim
from farm.queue.claim import Batch
from farm.queue.progress import ProgressBoard
from farm.store.protocol import open_store
from workers.loop.affinity import Affinity
from workers.loop.avoided import AvoidedWork
from workers.loop.batch_render import BatchRender, Draining
from workers.loop.delivery.deliver import Delivery
from workers.loop.delivery.spool import Spool
from workers.loop.devicestate import DeviceState
from workers.loop.heartbeat import Heartbeat
from workers.loop.holdings import Holdings
from workers.loop.orders import Orders
from workers.loop.outcomes import Outcomes
from workers.loop.reporter import Reporter
from workers.loop.stall import StallWatch
from workers.renderer import Renderer

log = structlog.get_logger(__name__)

STALLED = 75
"""The exit status of a process whose render hung: nothing else gets rid of a call that does not return."""

BROKEN = 76
"""The exit status of a process whose device broke under it: whatever it rendered next would fail."""

_DELIVERY_THREADS = 2
# More than one task has tries: a single bad task is not taken for a broken device.
_MOST_UNFORESEEN = 5
# A rival's claim takes some milliseconds. Who lost so many races leaves it to the next ring or look.
_MOST_RACES = 8
_RACE_PAUSE_SECONDS = 0.002, 0.02
_LONGEST_PAUSE_SECONDS = 8.0


class SuspectDevice(FarmError):
    """Renders keep failing in ways that were not foreseen; a fresh process may do better on this device."""


class Runner:
    """One worker at work. `run` returns when it has drained and all its images are delivered or in the spool.

    Raises DeviceBroken after the first attempt that its device broke under: a CUDA context that is broken
    stays so, and would fail every task it can claim. Raises SuspectDevice after several unforeseen failures in
    a row.
    """

    def __init__(self, settings: Settings, orders: Orders, renderer: Renderer, worker_id: int) -> None:
        self._settings = settings
        self._orders = orders
        self._renderer = renderer
        self._worker_id = worker_id
        self._database = Database.of(settings, Role.WORKER)
        self._holdings = Holdings()
        self._outcomes = Outcomes(self._database, self._holdings)
        self._affinity = Affinity()
        self._device = DeviceState(renderer)
        self._passed_over = AvoidedWork()
        self._polls = 0
        self._failures = 0
        self._unforeseen = 0
        self._broken: DeviceBroken | None = None
        self._heartbeat = Heartbeat(
            settings, Database.of(settings, Role.HEARTBEAT), worker_id, self._holdings, orders.drain
        )
        self._reporter = Reporter(ProgressBoard(settings.required_redis_url))
        self._stalls = StallWatch(settings.stall_seconds, self._give_up_stalled)
        self._batch_render = BatchRender(renderer, orders, self._holdings, self._reporter, self._stalls)
        self._spool = Spool(
            settings.spool_folder, worker_id, limit_bytes=settings.spool_bytes, batch=settings.max_batch
        )
        self._delivery = Delivery(
            self._database,
            open_store(settings),
            self._holdings,
            self._spool,
            threads=_DELIVERY_THREADS,
            limit=2 * settings.max_batch,
            lease_seconds=settings.lease_seconds,
        )

    def run(self) -> None:
        self._spool.open()
        for thread in (self._heartbeat, self._reporter, self._stalls):
            thread.start()
        log.info("A worker is ready.", worker=self._worker_id, device=self._renderer.device_name)
        while not self._orders.is_draining and not self._broken and self._unforeseen < _MOST_UNFORESEEN:
            self._orders.clear_rings()
            self._take_turn()
        self._end_all()
        if self._broken:
            raise self._broken
        if self._unforeseen >= _MOST_UNFORESEEN:
            raise SuspectDevice

    def _take_turn(self) -> None:
        """Render one batch; or, where there is none or no room for its images, wait to be rung.

        The images that another worker left are taken over first: their leases may end while this one renders.
        """
        self._delivery.adopt()
        self._report_troubles()
        batch = None if self._delivery.is_full else self._claim()
        if batch is None:
            self._report_status("idle")
            is_rung = self._orders.wait_for_ring(self._settings.poll_seconds * random.uniform(0.75, 1.25))
            self._polls = 0 if is_rung else self._polls + 1
            return
        self._polls = 0
        if not batch.leases:
            return
        self._device.note(batch)
        self._report_status("busy", batch.seconds)
        self._work_on(batch)
        if self._failures and not self._broken:
            self._ease_off()

    def _end_all(self) -> None:
        """Deliver while the drain time lasts. What is not delivered then waits in the spool, its lease standing."""
        self._report_status("draining")
        if not self._delivery.close(self._orders.seconds_left):
            log.warning("Images wait in the spool for the next worker.", worker=self._worker_id)
        for thread in (self._stalls, self._reporter, self._heartbeat):
            thread.stop()
        self._spool.close()
        self._database.close()

    def _ease_off(self) -> None:
        """After a failed batch wait, ever longer: if it is this worker that is broken, others come first."""
        self._orders.pause(min(_LONGEST_PAUSE_SECONDS, self._settings.poll_seconds * 2.0 ** (self._failures - 1)))

    def _report_status(self, status: str, busy_seconds: float | None = None) -> None:
        device = self._device.report(busy_seconds)
        self._heartbeat.report_status(status, self._renderer.resident_id, device)

    def _report_troubles(self) -> None:
        """What keeps this worker from all work or some: others that count on it take that meanwhile."""
        is_full, is_waiting = self._delivery.is_full, self._passed_over.is_waiting
        full = "its spool is full: rendered images wait for the store or PostgreSQL, and nothing is claimed"
        away = "the store does not give it what some images need; it leaves those to others"
        self._heartbeat.report_trouble("spool", full if is_full else None)
        self._heartbeat.report_trouble("store", away if is_waiting else None)
        held_up = "rendered images wait in its spool: the store or PostgreSQL does not take them now"
        self._heartbeat.report_trouble("delivery", held_up if self._delivery.is_held_up and not is_full else None)

    def _claim(self) -> Batch | None:
        """The next batch; None where nothing is ready for this worker, or nothing can be claimed now."""
        try:
            batch = self._claim_in_spite_of_others()
        except Exception as error:  # whatever it is, it is reported, and this worker tries again
            log.warning("Could not claim.", worker=self._worker_id, exc_info=not isinstance(error, SQLAlchemyError))
            self._heartbeat.report_trouble("claim", f"it cannot claim work: {_describe_failure(error)}")
            return None
        self._heartbeat.report_trouble("claim", None)
        if batch:
            self._holdings.take(batch.leases)
            self._affinity.note_claim()
            reach("worker.claimed")
            self._outcomes.fail_unreadable(batch.unreadable)
        return batch

    def _claim_in_spite_of_others(self) -> Batch | None:
        """Claim again where others were faster: what is left when they are done is there in milliseconds.

        Meanwhile there may be work of jobs that nobody counts the devices of.
        """
        residents = self._renderer.resident_ids
        preferred = self._affinity.preference(residents)
        without: frozenset[int] = frozenset()
        for _ in range(_MOST_RACES):
            try:
                batch = self._claim_once(residents, preferred, without)
            except Raced as raced:
                without |= raced.jobs
                if raced.jobs:
                    continue
            else:
                if batch or not without:
                    return batch
                without = frozenset()
            self._orders.pause(random.uniform(*_RACE_PAUSE_SECONDS))
        return None

    def _claim_once(
        self, residents: Sequence[int], preferred: Sequence[int], without: Collection[int]
    ) -> Batch | None:
        with self._database.begin() as session:
            batch = claim.claim(
                session,
                self._worker_id,
                pool=self._settings.pool,
                limit=self._settings.max_batch,
                lease_seconds=self._settings.lease_seconds,
                residents=residents,
                preferred=preferred,
                passed_over=self._passed_over.now(),
                without_jobs=without,
                by_seat_alone=self._polls % claim.POLLS_A_LOOK != 0,
            )
            if batch:
                reach("worker.claiming")
        return batch

    def _work_on(self, batch: Batch) -> None:
        """Render a batch and hand its images over.

        Whatever a pipeline may raise, the attempt ends with it as its evidence: hence the broad `except`.
        """
        for lease in batch.leases:
            log.info("Attempt started.", worker=self._worker_id, **lease.log_fields())
        if any(lease.attempt > 1 for lease in batch.leases):
            # The try before may have cost its process; if this one does, it costs no other task a try.
            self._delivery.wait_until_spooled()
        if batch.next_checkpoint:
            self._renderer.read_ahead(batch.next_checkpoint)
        try:
            for rendered in self._batch_render.render(batch):
                self._delivery.accept(rendered)
            self._failures = self._unforeseen = 0
            self._passed_over.note_success(batch.key)
        except Draining:
            self._outcomes.hand_back(batch.leases, "handed back: the worker is ending")
        except LeaseLost:
            self._holdings.drop(batch.leases)
        except OutOfMemory as error:
            self._outcomes.fail_for_memory(batch.leases, str(error), relief=error.relief)
        except StoreAway as error:
            self._pass_over(batch, f"handed back: {error}")
        except DeviceBroken as error:
            self._broken = error
            self._outcomes.fail(batch.leases, str(error), is_retryable=True)
        except RenderError as error:
            self._failures += error.is_retryable
            self._outcomes.fail(batch.leases, str(error), is_retryable=error.is_retryable, relief=error.relief)
        except Exception as error:
            log.exception("A render failed.", worker=self._worker_id)
            self._failures += 1
            self._unforeseen += 1
            self._outcomes.fail(batch.leases, f"{type(error).__name__}: {error}", is_retryable=True)

    def _give_up_stalled(self, error: str) -> None:
        """Called from the watch's thread while the render hangs: end its attempts, and then this process."""
        log.error("A render hangs; this process ends.", worker=self._worker_id, error=error)
        try:
            if self._renderer.is_reading:
                self._outcomes.hand_back(
                    self._batch_render.leases, f"handed back: the store does not answer; {error}"
                )
            else:
                self._outcomes.fail(self._batch_render.leases, error, is_retryable=True)
        finally:
            os._exit(STALLED)

    def _pass_over(self, batch: Batch, reason: str) -> None:
        """Give back at once what the store does not let us render, and leave it to others for a while.

        While Postgres is away too nothing can be claimed: then the leases are kept, so that it costs no try.
        """
        log.warning("The store is away; a batch is handed back.", worker=self._worker_id, reason=reason)
        self._passed_over.note_failure(batch.key)
        self._outcomes.insist_on_hand_back(batch.leases, reason, self._orders, self._settings.poll_seconds)


def _describe_failure(error: Exception) -> str:
    """What went wrong, for every user to read: without PostgreSQL's address, and SQLAlchemy's statement."""
    if isinstance(error, SQLAlchemyError) and is_lost_connection(error):
        return "PostgreSQL does not answer"
    message = str(error.args[0] if error.args else error).strip() or type(error).__name__
    return message.splitlines()[0]
