"""Keeps one child process running on each device, and gives back at once what a dead child held."""

import contextlib
import os
import platform
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import structlog
from sqlalchemy.exc import SQLAlchemyError

from farm import endings, fleet, losses, programs
from farm.config import Settings
from farm.crashpoints import reach
from farm.database import Database, Role, is_lost_connection
from farm.endings import AttemptKey
from farm.fleet import WorkerIdentity
from workers.cores import usable_cores
from workers.device import Device
from workers.pulse import Pulse
from workers.spool import attempts_in
from workers.tail import Tail

log = structlog.get_logger(__name__)

_LONGEST_PAUSE_SECONDS = 30.0
_HEALTHY_SECONDS = 60.0
_SILENT_SECONDS = 60.0
_SILENT_LEASES = 3.0
# Of workers.runner, which this process does not import.
_STATUSES = {75: "its render hung", 76: "its device broke"}


GiveBack = Callable[..., object]
"""Returns to the queue what a worker held that is gone, but for what is `spared`: (session, *, spared)."""


@dataclass
class Seat:
    """A device's place: the child that sits there now, and when the next may, if it is empty."""

    device: Device
    threads: int
    process: subprocess.Popen[bytes] | None = None
    tail: Tail | None = None
    pulse: Pulse | None = None
    worker_id: int = 0
    started_at: float = 0.0
    deaths: int = 0
    empty_until: float = 0.0

    def pause_seconds(self) -> float:
        """None after the first death; then doubling, lest a broken device spin."""
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
    _seats: list[Seat] = field(init=False)
    _database: Database = field(init=False)
    _tended_at: float = field(init=False, default_factory=time.monotonic)
    _is_stopping: bool = field(init=False, default=False)
    _unburied: dict[int, tuple[GiveBack, str]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._database = Database.of(self.settings, Role.WORKER)
        cpus = sum(not device.is_cuda for device in self.devices)
        threads = _threads_of_each(cpus)
        self._seats = [Seat(device, threads) for device in self.devices]

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

    def seated(self) -> dict[str, int | None]:
        """The id of the worker on each device; None where no process is there now."""
        return {seat.device.label: seat.worker_id if seat.process else None for seat in self._seats}

    def start(self) -> None:
        self.tend()

    def ring(self) -> None:
        """Wake every child: there may be work. Called from the bell's thread."""
        for seat in self._seats:
            self._say(seat, "ring")

    def tend(self) -> None:
        """One round: end who hangs, notice the dead, give back what they held, fill empty seats."""
        for seat in self._seats:
            self._end_if_hung(seat)
            if seat.process is not None and seat.process.poll() is not None:
                self._notice_death(seat)
        self._bury()
        for seat in self._seats:
            if seat.process is None and time.monotonic() >= seat.empty_until:
                self._fill(seat)
        self._tended_at = time.monotonic()

    def stop(self) -> None:
        """Let the children finish or hand back what they render; kill whoever outstays the grace period."""
        self._is_stopping = True
        for seat in self._seats:
            self._say(seat, "drain")
        deadline = time.monotonic() + self.settings.grace_seconds
        for seat in self._seats:
            if seat.process is not None:
                self._await_end(seat, seat.process, max(0.1, deadline - time.monotonic()))
        self._bury()
        self._database.close()

    def _await_end(self, seat: Seat, process: subprocess.Popen[bytes], seconds: float) -> None:
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        reason = f"the worker was stopped ({_ending(process.returncode)})"
        give_back = partial(endings.hand_back_all, worker_id=seat.worker_id, reason=reason)
        self._unburied[seat.worker_id] = (give_back, reason)

    def _end_if_hung(self, seat: Seat) -> None:
        """A process that gives no sign of life holds its device for ever; its lease has ended long ago."""
        bound = max(_SILENT_SECONDS, _SILENT_LEASES * self.settings.lease_seconds)
        if seat.process and seat.process.poll() is None and seat.pulse and seat.pulse.silent_seconds > bound:
            log.error("A worker process hangs; it is killed.", worker=seat.worker_id, silent_seconds=bound)
            seat.process.kill()
            seat.process.wait()

    def _notice_death(self, seat: Seat) -> None:
        assert seat.process is not None
        ending = _ending(seat.process.returncode)
        log.warning("A worker process died.", worker=seat.worker_id, device=seat.device.label, ending=ending)
        reason = f"the worker process died: {ending}"
        give_back = partial(
            losses.release_dead,
            worker_id=seat.worker_id,
            error=reason,
            log_tail=seat.tail.text() if seat.tail else None,
        )
        self._unburied[seat.worker_id] = (give_back, reason)
        seat.deaths = 1 if time.monotonic() - seat.started_at > _HEALTHY_SECONDS else seat.deaths + 1
        seat.empty_until = time.monotonic() + seat.pause_seconds()
        seat.process = None

    def _spooled(self) -> set[AttemptKey]:
        """What lies rendered on this machine and is not delivered yet. It will be, by whoever has it or adopts it.

        Of all workers, not only of the dead one: another may have taken its images over before we noticed.
        """
        return attempts_in(self.settings.spool_folder)

    def _bury(self) -> None:
        """Give back what the dead held. While Postgres is away they stay on the list; the keeper may be first."""
        for worker_id, (give_back, reason) in list(self._unburied.items()):
            reach("parent.child_died")
            try:
                with self._database.begin() as session:
                    give_back(session, spared=self._spooled())
                    fleet.retire(session, worker_id, reason)
            except OSError as error:
                # What lies rendered there must not be given back: it is looked for again in the next round.
                log.warning("The spool cannot be looked through.", error=str(error))
                return
            except SQLAlchemyError as error:
                log.warning("Could not give back a dead worker's tasks yet.", worker=worker_id, error=str(error))
                if is_lost_connection(error):
                    return
                continue
            del self._unburied[worker_id]
            reach("parent.tasks_returned")
            # Whoever idles beside it goes on at once.
            self.ring()

    def _fill(self, seat: Seat) -> None:
        try:
            with self._database.begin() as session:
                seat.worker_id = fleet.register(session, self._identity(seat.device))
        except SQLAlchemyError as error:
            log.warning("Could not register a worker yet.", device=seat.device.label, error=str(error))
            seat.empty_until = time.monotonic() + self.settings.poll_seconds
            return
        reach("parent.registered")
        try:
            seat.process = start_child(
                self.settings, seat.device, seat.worker_id, seat.threads, module=self.child_module
            )
        except OSError as error:
            # No descriptor or no memory is left on this machine: that may pass, and the other seats go on.
            log.warning("Could not start a worker yet.", device=seat.device.label, error=str(error))
            reason = "the worker could not be started"
            give_back = partial(endings.hand_back_all, worker_id=seat.worker_id, reason=reason)
            self._unburied[seat.worker_id] = (give_back, reason)
            seat.empty_until = time.monotonic() + _LONGEST_PAUSE_SECONDS
            return
        assert seat.process.stderr is not None
        assert seat.process.stdout is not None
        seat.tail = Tail(seat.process.stderr)
        seat.pulse = Pulse(seat.process.stdout)
        seat.started_at = time.monotonic()

    def _identity(self, device: Device) -> WorkerIdentity:
        return WorkerIdentity(
            host=platform.node(),
            pid=os.getpid(),
            device=device.label,
            device_name=device.name,
            pool=self.settings.pool,
        )

    def _say(self, seat: Seat, word: str) -> None:
        process = seat.process
        if process is not None and process.stdin is not None:
            # A child that just died hears nothing; the next one looks for work as it starts. One that
            # is stopped hears nothing either: the pipe does not block.
            with contextlib.suppress(OSError):
                process.stdin.write(f"{word}\n".encode())


def start_child(
    settings: Settings, device: Device, worker_id: int, threads: int, *, module: str = "workers.child"
) -> subprocess.Popen[bytes]:
    """Start a child pinned to a device: CUDA_VISIBLE_DEVICES stands before its interpreter does.

    It hears words on its stdin, and ends by itself when that closes: no child outlives its parent. Its
    log comes through its stderr, its signs of life through its stdout.
    """
    command = programs.build_command(module, str(worker_id), device.label, device.name, str(threads))
    child = subprocess.Popen(
        command,
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=programs.inherit_environment(pinned_environment(settings, device)),
        start_new_session=True,
    )
    assert child.stdin is not None
    os.set_blocking(child.stdin.fileno(), False)
    return child


def _threads_of_each(cpu_workers: int) -> int:
    """How many threads each child computes with: as the user says, else an equal share of the cores."""
    # A list means nested regions, of which torch has none.
    said = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if said.isdecimal() and int(said) > 0:
        return int(said)
    return max(1, usable_cores() // max(1, cpu_workers))


def pinned_environment(settings: Settings, device: Device) -> dict[str, str]:
    """What a child's environment holds beyond ours."""
    parts = {
        name: getattr(settings, name) for name in ("database_url", "redis_url", "store_url", "secret_key", "pool")
    }
    return {
        **{f"FARM_{name.upper()}": value for name, value in parts.items() if value is not None},
        "CUDA_VISIBLE_DEVICES": device.visible,
        # A device is pinned by its index only where nobody could list it: then as our own environment counts.
        "CUDA_DEVICE_ORDER": os.environ.get("CUDA_DEVICE_ORDER", "PCI_BUS_ID"),
        # A worker renders what it was given and asks no hub for anything.
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "DIFFUSERS_DISABLE_REMOTE_CODE": "1",
    }


def _ending(returncode: int) -> str:
    if returncode < 0:
        return f"killed by {signal.Signals(-returncode).name}"
    why = _STATUSES.get(returncode)
    return f"exit status {returncode}" + (f", {why}" if why else "")
