"""Supervises the workers of this machine: keeps one child process running on each device."""

import contextlib
import os
import platform
import subprocess
import time
from dataclasses import dataclass, field
from functools import partial

import structlog
from sqlalchemy.exc import SQLAlchemyError

from farm.config import Settings
from farm.crashpoints import reach
from farm.db.connection import Database, Role
from farm.queue import endings, losses
from farm.queue.workers import fleet
from farm.queue.workers.fleet import WorkerIdentity
from workers.parent.childlog import ChildLog
from workers.parent.children import describe_ending, share_threads, start_child
from workers.parent.devices import Device
from workers.parent.givebacks import GiveBacks
from workers.parent.pulse import Pulse

log = structlog.get_logger(__name__)

_LONGEST_PAUSE_SECONDS = 30.0
_HEALTHY_SECONDS = 60.0
_SILENT_SECONDS = 60.0
_SILENT_LEASES = 3.0


@dataclass
class DeviceSlot:
    """A device, the child that runs on it now, and when the next may start, if it is empty."""

    device: Device
    threads: int
    process: subprocess.Popen[bytes] | None = None
    tail: ChildLog | None = None
    pulse: Pulse | None = None
    worker_id: int = 0
    started_at: float = 0.0
    deaths: int = 0
    empty_until: float = 0.0

    def pause_seconds(self) -> float:
        """None after the first death; then doubling, so that a broken device does not spin."""
        if self.deaths <= 1:
            return 0.0
        # The power is bounded too: a device that is broken for hours must not overflow it.
        return min(_LONGEST_PAUSE_SECONDS, 2.0 ** min(self.deaths - 2, 10))


@dataclass
class Supervisor:
    """The children of this machine. All methods are called from one thread, but `ring` and what probes ask."""

    settings: Settings
    devices: list[Device]
    child_module: str = "workers.child"
    _slots: list[DeviceSlot] = field(init=False)
    _database: Database = field(init=False)
    _tended_at: float = field(init=False, default_factory=time.monotonic)
    _is_stopping: bool = field(init=False, default=False)
    _give_backs: GiveBacks = field(init=False)

    def __post_init__(self) -> None:
        self._database = Database.of(self.settings, Role.PARENT)
        # Another worker that idles can take at once what is given back.
        self._give_backs = GiveBacks(self._database, self.settings.spool_folder, self.ring)
        cpus = sum(not device.is_cuda for device in self.devices)
        threads = share_threads(cpus)
        self._slots = [DeviceSlot(device, threads) for device in self.devices]

    @property
    def database(self) -> Database:
        """The connections of this process."""
        return self._database

    @property
    def is_stopping(self) -> bool:
        return self._is_stopping

    @property
    def seconds_since_round(self) -> float:
        return time.monotonic() - self._tended_at

    def worker_ids(self) -> dict[str, int | None]:
        """The id of the worker on each device; None where no process is there now."""
        return {slot.device.label: slot.worker_id if slot.process else None for slot in self._slots}

    def start(self) -> None:
        self.tend()

    def ring(self) -> None:
        """Wake every child: there may be work. Called from the bell's thread."""
        for slot in self._slots:
            self._send(slot, "ring")

    def tend(self) -> None:
        """One round: kill children that hang, notice the dead, give back what they held, fill empty slots."""
        for slot in self._slots:
            self._end_if_hung(slot)
            if slot.process is not None and slot.process.poll() is not None:
                self._notice_death(slot)
        self._give_backs.give_back_all()
        for slot in self._slots:
            if slot.process is None and time.monotonic() >= slot.empty_until:
                self._fill(slot)
        self._tended_at = time.monotonic()

    def stop(self) -> None:
        """Let the children finish or hand back what they render; kill those that outstay the grace period."""
        self._is_stopping = True
        for slot in self._slots:
            self._send(slot, "drain")
        deadline = time.monotonic() + self.settings.grace_seconds
        for slot in self._slots:
            if slot.process is not None:
                self._await_end(slot, slot.process, max(0.1, deadline - time.monotonic()))
        self._give_backs.give_back_all()
        self._database.close()

    def _await_end(self, slot: DeviceSlot, process: subprocess.Popen[bytes], seconds: float) -> None:
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        reason = f"the worker was stopped ({describe_ending(process.returncode)})"
        give_back = partial(endings.hand_back_all, worker_id=slot.worker_id, reason=reason)
        self._give_backs.add(slot.worker_id, give_back, reason)

    def _end_if_hung(self, slot: DeviceSlot) -> None:
        """A process that gives no sign of life holds its device for ever; its leases ended long ago."""
        bound = max(_SILENT_SECONDS, _SILENT_LEASES * self.settings.lease_seconds)
        if slot.process and slot.process.poll() is None and slot.pulse and slot.pulse.silent_seconds > bound:
            log.error("A worker process hangs; it is killed.", worker=slot.worker_id, silent_seconds=bound)
            slot.process.kill()
            slot.process.wait()

    def _notice_death(self, slot: DeviceSlot) -> None:
        assert slot.process is not None
        ending = describe_ending(slot.process.returncode)
        log.warning("A worker process died.", worker=slot.worker_id, device=slot.device.label, ending=ending)
        reason = f"the worker process died: {ending}"
        give_back = partial(
            losses.release_dead,
            worker_id=slot.worker_id,
            error=reason,
            log_tail=slot.tail.text() if slot.tail else None,
        )
        self._give_backs.add(slot.worker_id, give_back, reason)
        slot.deaths = 1 if time.monotonic() - slot.started_at > _HEALTHY_SECONDS else slot.deaths + 1
        slot.empty_until = time.monotonic() + slot.pause_seconds()
        slot.process = None

    def _fill(self, slot: DeviceSlot) -> None:
        try:
            with self._database.begin() as session:
                slot.worker_id = fleet.register(session, self._identity(slot.device))
        except SQLAlchemyError as error:
            log.warning("Could not register a worker yet.", device=slot.device.label, error=str(error))
            slot.empty_until = time.monotonic() + self.settings.poll_seconds
            return
        reach("parent.registered")
        try:
            slot.process = start_child(
                self.settings, slot.device, slot.worker_id, slot.threads, module=self.child_module
            )
        except OSError as error:
            # No descriptor or no memory is left on this machine: that may pass, and the other slots go on.
            log.warning("Could not start a worker yet.", device=slot.device.label, error=str(error))
            reason = "the worker could not be started"
            give_back = partial(endings.hand_back_all, worker_id=slot.worker_id, reason=reason)
            self._give_backs.add(slot.worker_id, give_back, reason)
            slot.empty_until = time.monotonic() + _LONGEST_PAUSE_SECONDS
            return
        assert slot.process.stderr is not None
        assert slot.process.stdout is not None
        slot.tail = ChildLog(slot.process.stderr)
        slot.pulse = Pulse(slot.process.stdout)
        slot.started_at = time.monotonic()

    def _identity(self, device: Device) -> WorkerIdentity:
        return WorkerIdentity(
            host=platform.node(),
            pid=os.getpid(),
            device=device.label,
            device_name=device.name,
            pool=self.settings.pool,
        )

    def _send(self, slot: DeviceSlot, order: str) -> None:
        process = slot.process
        if process is not None and process.stdin is not None:
            # A child that just died reads nothing; the next one looks for work as it starts. One that
            # is stopped reads nothing either: the pipe does not block.
            with contextlib.suppress(OSError):
                process.stdin.write(f"{order}\n".encode())
