"""What the farm takes of one kind of call, with nothing else going on: claims alone, then publishes alone."""

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from queue import Empty, SimpleQueue

from farm.bench.fleet.calls import ClaimedWork, WorkerCalls
from farm.bench.fleet.farm import BenchFarm
from farm.bench.fleet.options import FleetOptions
from farm.config import Settings

_START_SECONDS = 5.0
_RENDER_SECONDS = 8.0
_PAUSE_SECONDS = 0.1


@dataclass(frozen=True)
class FlatOut:
    """Rates of claims and publishes, in batches of one size."""

    batch: int
    claims_per_second: float
    claimed_per_second: float
    published_per_second: float


@dataclass(frozen=True)
class _Call:
    """A call that was made: when, in Unix time, and of how many images."""

    began: float
    ended: float
    images: int


@dataclass(frozen=True)
class _Orders:
    """Claim in one process from one Unix time to another, and then publish what was claimed."""

    settings: Settings
    batch: int
    threads: int
    first_number: int
    begin_at: float
    end_at: float


def measure(farm: BenchFarm, options: FleetOptions, *, seconds: float) -> FlatOut:
    """Claim for so long in all processes, in batches of one size, and then publish them."""
    begin_at = time.time() + _START_SECONDS
    numbers = range(0, options.drivers * options.threads, options.threads)
    orders = [
        _Orders(farm.settings, options.batch, options.threads, number, begin_at, begin_at + seconds)
        for number in numbers
    ]
    with ProcessPoolExecutor(options.drivers, mp_context=get_context("spawn")) as pool:
        parts = list(pool.map(_work, orders))
    claims = [call for part, _ in parts for call in part]
    publishes = [call for _, part in parts for call in part]
    span = _span(claims)
    return FlatOut(options.batch, len(claims) / span, _images(claims) / span, _images(publishes) / _span(publishes))


def _work(orders: _Orders) -> tuple[list[_Call], list[_Call]]:
    """The claims and the publishes of one process."""
    calls = WorkerCalls(orders.settings, orders.batch)
    worker_ids = calls.register(range(orders.first_number, orders.first_number + orders.threads))
    claimed: SimpleQueue[ClaimedWork] = SimpleQueue()
    with ThreadPoolExecutor(orders.threads) as pool:
        time.sleep(max(0.0, orders.begin_at - time.time()))
        claiming = pool.map(lambda worker_id: _claim_all(calls, worker_id, orders.end_at, claimed), worker_ids)
        claims = [call for made in claiming for call in made]
        publishing = pool.map(lambda _: _publish_all(calls, claimed), worker_ids)
        publishes = [call for made in publishing for call in made]
    calls.retire(worker_ids)
    calls.close()
    return claims, publishes


def _claim_all(
    calls: WorkerCalls, worker_id: int, end_at: float, claimed: SimpleQueue[ClaimedWork]
) -> Sequence[_Call]:
    """Claim batch after batch as one worker. A plan may leave it without a seat for a moment."""
    made: list[_Call] = []
    residents: tuple[int, ...] = ()
    calls.beat(worker_id, (), residents, busy_seconds=None)
    while (began := time.time()) < end_at:
        work = calls.claim(worker_id, residents, residents).work
        if work is None:
            time.sleep(_PAUSE_SECONDS)
            continue
        made.append(_Call(began, time.time(), len(work.leases)))
        claimed.put(work)
        if residents != (work.checkpoint_id,):
            residents = (work.checkpoint_id,)
            calls.beat(worker_id, (), residents, busy_seconds=0.0)
    return made


def _publish_all(calls: WorkerCalls, claimed: SimpleQueue[ClaimedWork]) -> Sequence[_Call]:
    """Publish until nothing is left that was claimed."""
    made: list[_Call] = []
    while True:
        try:
            work = claimed.get_nowait()
        except Empty:
            calls.close()
            return made
        began = time.time()
        published = calls.publish(work, load_seconds=0.0, render_seconds=_RENDER_SECONDS)
        made.append(_Call(began, time.time(), published))


def _images(calls: Iterable[_Call]) -> int:
    return sum(call.images for call in calls)


def _span(calls: Sequence[_Call]) -> float:
    """From the begin of the first to the end of the last."""
    return max(call.ended for call in calls) - min(call.began for call in calls) if calls else 1.0
