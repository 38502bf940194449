"""The render loop of one device: claim, render, hand over, repeat."""

import random
import time
from collections.abc import Callable
from functools import partial

import structlog
import torch
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from farm import dispatch, endings
from farm.config import Settings
from farm.database import Database, Role
from farm.dispatch import Batch, Lease
from farm.errors import FarmError, LeaseLost, RenderError
from farm.progress import ProgressBoard
from farm.store import open_store
from workers.affinity import Affinity
from workers.batches import bucket_of, pad
from workers.calls import Calls
from workers.delivery import Delivery, Rendered
from workers.heartbeat import Heartbeat
from workers.holdings import Holdings
from workers.modes import RENDERS
from workers.pipelines import Pipelines
from workers.provenance import Machine
from workers.reporter import Reporter

log = structlog.get_logger(__name__)

_DELIVERY_THREADS = 2
# More than one task has tries: a single bad task is not taken for a broken device.
_MOST_UNFORESEEN = 5
_LONGEST_PAUSE_SECONDS = 8.0


class Draining(FarmError):
    """The worker is ending and hands back what it renders."""


def run(settings: Settings, calls: Calls, *, worker_id: int, label: str, device_name: str, threads: int) -> None:
    """Render on this process's device until told to drain."""
    device = "cpu" if label.startswith("cpu") else "cuda"
    torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark = False
    pipelines = Pipelines(device, settings.precision)
    machine = Machine(device_name, pipelines.precision, threads if device == "cpu" else None)
    runner = Runner(settings, calls, pipelines, machine, worker_id)
    runner.run()


class SuspectDevice(FarmError):
    """Renders keep failing in ways that were not foreseen; a fresh process may do better on this device."""


class Runner:
    """One worker at work. `run` returns when it has drained and all its images are delivered.

    Raises SuspectDevice after several unforeseen failures in a row: a CUDA context that is broken
    stays so, and would fail every task it can claim.
    """

    def __init__(
        self, settings: Settings, calls: Calls, pipelines: Pipelines, machine: Machine, worker_id: int
    ) -> None:
        self._settings = settings
        self._calls = calls
        self._pipelines = pipelines
        self._machine = machine
        self._worker_id = worker_id
        self._database = Database.of(settings, Role.WORKER)
        self._holdings = Holdings()
        self._affinity = Affinity()
        self._failures = 0
        self._unforeseen = 0
        self._heartbeat = Heartbeat(settings, self._database, worker_id, self._holdings)
        self._reporter = Reporter(ProgressBoard(settings.required_redis_url))
        self._delivery = Delivery(
            self._database,
            open_store(settings),
            self._holdings,
            threads=_DELIVERY_THREADS,
            limit=2 * settings.max_batch,
        )

    def run(self) -> None:
        self._heartbeat.start()
        self._reporter.start()
        log.info("A worker is ready.", worker=self._worker_id, device=self._machine.device_name)
        while not self._calls.is_draining and self._unforeseen < _MOST_UNFORESEEN:
            self._calls.hush()
            batch = self._claim()
            if batch is None:
                self._tell("idle")
                self._calls.wait_for_ring(self._settings.poll_seconds * random.uniform(0.75, 1.25))
                continue
            self._tell("busy")
            self._work_on(batch)
            if self._failures:
                self._ease_off()
        self._tell("draining")
        self._delivery.close()
        self._reporter.stop()
        self._heartbeat.stop()
        self._database.close()
        if self._unforeseen >= _MOST_UNFORESEEN:
            raise SuspectDevice

    def _ease_off(self) -> None:
        """After a failed batch wait, ever longer: if it is this worker that is broken, others come first."""
        self._calls.pause(min(_LONGEST_PAUSE_SECONDS, self._settings.poll_seconds * 2.0 ** (self._failures - 1)))

    def _tell(self, status: str) -> None:
        self._heartbeat.tell(status, self._pipelines.resident_id)

    def _claim(self) -> Batch | None:
        try:
            with self._database.begin() as session:
                batch = dispatch.claim(
                    session,
                    self._worker_id,
                    pool=self._settings.pool,
                    limit=self._settings.max_batch,
                    lease_seconds=self._settings.lease_seconds,
                    resident=self._affinity.preference(self._pipelines.resident_id),
                )
        except SQLAlchemyError as error:
            log.warning("Could not claim.", worker=self._worker_id, error=str(error.args[0]))
            return None
        if batch:
            self._holdings.take(batch.leases)
            self._affinity.note_claim()
        return batch

    def _work_on(self, batch: Batch) -> None:
        """Render a batch and hand its images over.

        Whatever a pipeline may raise, the attempt ends with it as its evidence: hence the broad `except`.
        """
        for lease in batch.leases:
            log.info("Attempt started.", worker=self._worker_id, **lease.log_fields())
        try:
            for rendered in self._render(batch):
                self._delivery.accept(rendered)
            self._failures = self._unforeseen = 0
        except Draining:
            self._hand_back(batch.leases)
        except LeaseLost:
            self._holdings.drop(batch.leases)
        except RenderError as error:
            self._failures += error.is_retryable
            self._fail(batch.leases, str(error), is_retryable=error.is_retryable)
        except Exception as error:
            log.exception("A render failed.", worker=self._worker_id)
            self._failures += 1
            self._unforeseen += 1
            self._fail(batch.leases, f"{type(error).__name__}: {error}", is_retryable=True)

    def _render(self, batch: Batch) -> list[Rendered]:
        """Render the batch in its bucket and share the device's time out among its images."""
        started = time.monotonic()
        self._check_calls(batch.leases)
        resident = self._pipelines.load(batch.checkpoint)
        self._check_calls(batch.leases)
        loaded = time.monotonic()
        first_step: list[float] = []

        def on_step(step: int, steps: int) -> None:
            first_step[:] = first_step or [time.monotonic() - started]
            self._reporter.report(batch.leases, step, steps)
            self._check_calls(batch.leases)

        specs = [lease.spec for lease in batch.leases]
        images = RENDERS[specs[0].mode](resident.pipeline, pad(specs), on_step)
        ended = time.monotonic()
        timings = {"load": loaded - started, "first_step": first_step[0], "render": ended - loaded}
        provenance = self._machine.provenance(batch.checkpoint, bucket_of(len(specs)))
        share = (ended - started) / len(specs)
        return [
            Rendered(lease, batch.checkpoint, pixels, share, timings, provenance)
            for lease, pixels in zip(batch.leases, images, strict=False)
            if self._holdings.holds(lease)
        ]

    def _check_calls(self, leases: tuple[Lease, ...]) -> None:
        """Between steps: stop if nothing of the batch is wanted any more, or the drain time is over."""
        if self._calls.must_stop_now:
            raise Draining
        if not any(self._holdings.holds(lease) for lease in leases):
            raise LeaseLost

    def _hand_back(self, leases: tuple[Lease, ...]) -> None:
        self._end(leases, lambda session: endings.hand_back(session, leases, "handed back: the worker is ending"))

    def _fail(self, leases: tuple[Lease, ...], error: str, *, is_retryable: bool) -> None:
        """Fail each task in a transaction of its own: one that locked several would meet the keeper crosswise."""
        for lease in leases:
            log.warning("Attempt ended: failed.", error=error, **lease.log_fields())
            self._end((lease,), partial(endings.fail, lease=lease, error=error, is_retryable=is_retryable))

    def _end(self, leases: tuple[Lease, ...], ending: Callable[[Session], object]) -> None:
        """Say how a batch ended. If Postgres is away the leases end by themselves."""
        try:
            with self._database.begin() as session:
                ending(session)
        except SQLAlchemyError as error:
            log.warning("Could not say how a batch ended.", error=str(error.args[0]))
        finally:
            self._holdings.drop(leases)
