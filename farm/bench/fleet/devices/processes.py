"""The processes that act for the devices: started together, ended together, what they saw taken in."""

from collections.abc import Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event
from typing import Any

from farm.bench.fleet.devices.driver import Driver, DriverOrders
from farm.bench.fleet.figures.samples import Samples
from farm.bench.fleet.options import FleetOptions, Timing
from farm.config import Settings
from farm.errors import FarmError

_START_SECONDS = 120.0
_END_SECONDS = 120.0


def divide_devices(
    settings: Settings, options: FleetOptions, timing: Timing, *, boot_seconds: float
) -> list[DriverOrders]:
    """What each process is to do."""
    return [
        DriverOrders(
            settings=settings,
            timing=timing,
            numbers=range(number, options.devices, options.drivers),
            boot_seconds=boot_seconds,
            batch=options.batch,
            slots=options.slots,
            threads=options.threads,
            seed=options.seed,
        )
        for number in range(options.drivers)
    ]


class DriverProcesses:
    """The processes of one run: ready once the context is entered; leaving it ends what is left of them."""

    def __init__(self, orders: Sequence[DriverOrders]) -> None:
        context = get_context("spawn")
        self._begins, self._is_over = context.Event(), context.Event()
        self._parts: list[tuple[BaseProcess, Connection]] = []
        for part in orders:
            here, there = context.Pipe(duplex=False)
            process = context.Process(target=_drive, args=(part, self._begins, self._is_over, there), daemon=True)
            self._parts.append((process, here))

    def __enter__(self) -> "DriverProcesses":
        for process, _ in self._parts:
            process.start()
        self._hear_all(_START_SECONDS)
        return self

    def __exit__(self, *exc: object) -> None:
        for process, _ in self._parts:
            process.kill()
            process.join()

    def begin(self) -> None:
        """Let the devices start."""
        self._begins.set()

    def finish(self) -> Samples:
        """Have them publish what still renders, and end; return what all saw."""
        self._is_over.set()
        return Samples.merge(self._hear_all(_END_SECONDS))

    def _hear_all(self, seconds: float) -> Sequence[Any]:
        """One message of each. Raises FarmError where one does not answer."""
        heard = []
        for _, connection in self._parts:
            if not connection.poll(seconds):
                raise FarmError("A process of simulated devices does not answer.")
            heard.append(connection.recv())
        return heard


def _drive(orders: DriverOrders, begins: Event, is_over: Event, parent: Connection) -> None:
    driver = Driver(orders)
    driver.prepare()
    parent.send("ready")
    begins.wait()
    parent.send(driver.run(is_over.is_set))
