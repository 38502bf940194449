"""One process that acts for many devices: each claims, waits as long as it would render, renews and publishes."""

import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import redis

from farm.bench.fleet.calls import ClaimAnswer, ClaimedWork, WorkerCalls
from farm.bench.fleet.devices.device import Device
from farm.bench.fleet.devices.timers import Timers
from farm.bench.fleet.figures.samples import Samples
from farm.bench.fleet.options import POOL, Timing
from farm.config import Settings
from farm.queue.doorbell import queue_name

_MOST_ERRORS = 20
_BEAT_THREADS = 2
_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class DriverOrders:
    """What one process is to do: act for the devices with these numbers, which start within `boot_seconds`."""

    settings: Settings
    timing: Timing
    numbers: Sequence[int]
    boot_seconds: float
    batch: int
    slots: int
    threads: int
    seed: int


class Driver:
    """The devices of one process. `run` returns what they saw once `is_over` says so, and all is published.

    `prepare` first: what devices do before they are there, no run should wait for.
    """

    def __init__(self, orders: DriverOrders) -> None:
        self._orders = orders
        self._calls = WorkerCalls(orders.settings, orders.batch)
        self._timers = Timers(orders.threads, on_end=self._calls.close)
        # Apart, as in life: nothing slow may hold up a lease.
        self._beats = Timers(_BEAT_THREADS, on_end=self._calls.close)
        self._samples = Samples()
        self._chance = random.Random(f"{orders.seed} {orders.numbers[0]}")
        self._devices: list[Device] = []
        self._idle: dict[int, Device] = {}
        self._lock = threading.Lock()
        self._rendering = 0
        self._is_ending = False

    def prepare(self) -> None:
        """Enter the devices."""
        slots = self._orders.slots
        worker_ids = self._calls.register(self._orders.numbers)
        self._devices = [Device.make(worker_id, slots, self._chance) for worker_id in worker_ids]

    def run(self, is_over: Callable[[], bool]) -> Samples:
        cpu_before = time.process_time()
        now = time.monotonic()
        for device in self._devices:
            starts = now + self._chance.uniform(0, self._orders.boot_seconds)
            self._set_turn(device, starts)
            self._set_beat(device, starts)
        self._serve(is_over)
        self._calls.retire([device.worker_id for device in self._devices])
        self._calls.close()
        self._samples.cpu_seconds = time.process_time() - cpu_before
        return self._samples

    def _serve(self, is_over: Callable[[], bool]) -> None:
        listener = threading.Thread(target=self._hear_rings, args=(is_over,), daemon=True)
        listener.start()
        self._timers.start()
        self._beats.start()
        while not is_over():
            time.sleep(0.1)
        self._is_ending = True
        while self._rendering:
            time.sleep(0.05)
        self._timers.close()
        self._beats.close()
        listener.join()

    def _set_turn(self, device: Device, due: float) -> None:
        device.turn += 1
        self._timers.set(due, partial(self._take_turn, device, device.turn))

    def _set_beat(self, device: Device, due: float) -> None:
        device.beat += 1
        self._beats.set(due, partial(self._beat, device, device.beat))

    def _take_turn(self, device: Device, turn: int, due: float) -> None:
        """A device claims; what it got it renders, and then it takes its next turn."""
        if device.turn != turn or self._is_ending:
            return
        with self._lock:
            self._idle.pop(device.worker_id, None)
            self._rendering += 1
        began = time.monotonic()
        residents, preferred = tuple(device.residents), tuple(device.preference())
        claim = partial(self._calls.claim, device.worker_id, residents, preferred, device.polls)
        answer = self._attempt(claim) or ClaimAnswer(None)
        ended = time.monotonic()
        self._samples.races += answer.races
        if answer.work is None:
            self._samples.empty_claims.append(ended - began)
            self._rest(device)
            return
        with self._lock:
            self._samples.note_claim(ended - began, late=began - due)
        self._render(device, answer.work)

    def _render(self, device: Device, work: ClaimedWork) -> None:
        """What waits for the device's thread in life, the delivery, waits for no more than the end here."""
        was_busy, before = device.is_busy, tuple(device.residents)
        loading, rendering = device.start(work, self._orders.timing)
        self._note_batch(work, loading, rendering)
        waited = loading + rendering if self._orders.timing.is_waited else 0.0
        ends = device.ends_at = time.monotonic() + waited
        self._set_turn(device, ends)
        self._timers.set(ends, partial(self._publish, device, work, loading, rendering))
        if not was_busy or before != tuple(device.residents):
            self._set_beat(device, time.monotonic())

    def _rest(self, device: Device) -> None:
        """Nothing to do: look again after a while, or when rung."""
        was_busy, device.is_busy = device.is_busy, False
        device.polls += 1
        with self._lock:
            self._rendering -= 1
            self._idle[device.worker_id] = device
        self._set_turn(device, time.monotonic() + self._calls.poll_seconds * self._chance.uniform(0.75, 1.25))
        if was_busy:
            self._set_beat(device, time.monotonic())

    def _publish(self, device: Device, work: ClaimedWork, loading: float, rendering: float, _due: float) -> None:
        began = time.monotonic()
        publish = partial(self._calls.publish, work, load_seconds=loading, render_seconds=rendering)
        published = self._attempt(publish)
        ended = time.monotonic()
        device.drop(work.leases)
        with self._lock:
            self._rendering -= 1
            self._samples.publishes.append(ended - began)
            self._samples.published += published or 0
            self._samples.lost += len(work.leases) - (published or 0)
            self._samples.last_publish_at = max(self._samples.last_publish_at, time.time())

    def _beat(self, device: Device, beat: int, due: float) -> None:
        if device.beat != beat:
            return
        held = tuple(device.held.values())
        began = time.monotonic()
        busy_seconds = max(0.0, device.ends_at - began) if device.is_busy else None
        ask = partial(self._calls.beat, device.worker_id, held, tuple(device.residents), busy_seconds)
        kept = self._attempt(ask)
        self._samples.beats.append(time.monotonic() - began)
        if kept is not None:
            device.drop([lease for lease in held if lease not in kept])
        if device.beat == beat:
            self._set_beat(device, max(due, began) + self._calls.heartbeat_seconds)

    def _attempt(self, ask: Callable[[], _Answer]) -> _Answer | None:
        """What the farm answers; None where it failed, which is kept as evidence: a worker goes on, too."""
        try:
            return ask()
        except Exception as error:  # whatever it is, the run is to end and to show it
            with self._lock:
                if len(self._samples.errors) < _MOST_ERRORS:
                    self._samples.errors.append(f"{type(error).__name__}: {error}"[:500])
            return None

    def _note_batch(self, work: ClaimedWork, loading: float, rendering: float) -> None:
        with self._lock:
            self._samples.batches.append(len(work.leases))
            self._samples.render_seconds += rendering
            self._samples.load_seconds += loading
            self._samples.loads += loading > 0

    def _hear_rings(self, is_over: Callable[[], bool]) -> None:
        """Each ring brings one idle device here to its turn at once, as it wakes one worker in life."""
        with redis.Redis.from_url(self._orders.settings.required_redis_url) as client:
            while not is_over():
                if client.brpop([queue_name(POOL)], timeout=0.5) is not None:
                    self._wake_one()

    def _wake_one(self) -> None:
        with self._lock:
            device = self._idle.pop(next(iter(self._idle), 0), None)
        if device is not None:
            device.polls = 0
            self._set_turn(device, time.monotonic())
