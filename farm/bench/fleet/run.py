"""One simulated fleet from its first job to its last image, and what it showed."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from sqlalchemy import text

from farm.bench.fleet import ceiling
from farm.bench.fleet import farm as bench_farm
from farm.bench.fleet.ceiling import Ceiling
from farm.bench.fleet.devices.processes import DriverProcesses, divide_devices
from farm.bench.fleet.farm import BenchFarm
from farm.bench.fleet.figures import outcome
from farm.bench.fleet.figures.fairness import Deviation
from farm.bench.fleet.figures.invariants import find_broken
from farm.bench.fleet.figures.outcome import Waits
from farm.bench.fleet.figures.samples import Samples
from farm.bench.fleet.figures.watch import Cost, Watch
from farm.bench.fleet.options import FleetOptions, Timing
from farm.bench.fleet.work import PlannedJob, draw_jobs, spread_arrivals
from farm.bench.scratch import scratch_servers

_CEILING_SECONDS = 6.0
_CEILING_TASKS = 40_000
_CEILING_ROUNDS = 2
_PATIENCE = 3.0
_LEAST_PATIENCE_SECONDS = 120.0
_SETTLE_SECONDS = 30.0
_LOOK_SECONDS = 0.5

_UNFINISHED = text("SELECT count(*) FROM line_counts WHERE queued > 0 OR running > 0")


@dataclass(frozen=True)
class FleetFigures:
    """All that a run showed. Times are in seconds."""

    options: FleetOptions
    timing: Timing
    jobs: int
    samples: Samples
    cost: Cost
    waits: Mapping[str, Waits]
    deviation: Deviation
    drain_seconds: float
    ideal_seconds: float
    broken: Mapping[str, int]
    due_renewals: float
    """A second: fewer are made where this machine cannot act for so many devices, and leases are lost to that."""

    @property
    def mean_batch(self) -> float:
        batches = self.samples.batches
        return sum(batches) / max(1, len(batches))


def measure_ceiling(options: FleetOptions) -> Ceiling:
    """The ceiling, on a farm of its own."""
    with scratch_farm(options) as farm:
        plenty = replace(options, tasks=_CEILING_TASKS)
        return ceiling.measure(farm, plenty, seconds=_CEILING_SECONDS, rounds=_CEILING_ROUNDS)


def measure(options: FleetOptions, reached: Ceiling) -> FleetFigures:
    """Let the fleet work on a farm of its own, as fast as was asked for or as the ceiling allows."""
    jobs = draw_jobs(options)
    with scratch_farm(options) as farm:
        return run(farm, options, jobs, image_seconds=_image_seconds(options, jobs, reached))


def run(
    farm: BenchFarm, options: FleetOptions, jobs: Sequence[PlannedJob], *, image_seconds: float
) -> FleetFigures:
    """Let the fleet do its work.

    1. Owners, checkpoints, and the jobs that lie there when it begins.
    2. The devices start, within the time that a load takes; the other jobs come.
    3. Once every job is finished, or patience ends, the devices end, and what they did is looked over.
    """
    timing = Timing(image_seconds, options.load_seconds, options.batch)
    rate = options.load * options.devices / image_seconds
    arrivals = list(spread_arrivals(jobs, images_per_second=rate))
    checkpoints = bench_farm.fill(farm.database, options)
    if not rate:
        bench_farm.submit_all(farm, arrivals, checkpoints)
    ideal = ideal_seconds(options, timing, arrivals)
    orders = divide_devices(farm.settings, options, timing, boot_seconds=options.load_seconds)
    with DriverProcesses(orders) as drivers, Watch(farm.database, farm.parts) as watch:
        began = time.time()
        drivers.begin()
        if rate:
            bench_farm.submit_all(farm, arrivals, checkpoints)
        _wait_until_finished(farm, began + max(_LEAST_PATIENCE_SECONDS, _PATIENCE * ideal))
        samples = drivers.finish()
    broken = _look_over(farm)
    with farm.database.begin() as session:
        waits, deviation = outcome.read_waits(session, began), outcome.read_deviation(session)
    drain = samples.last_publish_at - began
    cost = watch.cost(samples.cpu_seconds)
    due = options.devices / farm.settings.heartbeat_seconds
    return FleetFigures(options, timing, len(jobs), samples, cost, waits, deviation, drain, ideal, broken, due)


def ideal_seconds(options: FleetOptions, timing: Timing, arrivals: Sequence[tuple[float, PlannedJob]]) -> float:
    """How long a fleet takes that never waits and loads no more than it must: once a device and a checkpoint.

    What comes late bounds it as well: no end lies before an arrival and the work that comes from then on.
    """
    devices = options.devices
    checkpoints = len({job.checkpoint for _, job in arrivals})
    loads = max(devices, checkpoints) * timing.load_seconds / devices
    left, ideal = 0.0, 0.0
    for due, job in reversed(arrivals):
        left += job.cost * timing.image_seconds / devices
        ideal = max(ideal, due + left)
    # Devices start evenly over the time of a load.
    return ideal + loads + timing.load_seconds / 2


def _image_seconds(options: FleetOptions, jobs: Sequence[PlannedJob], reached: Ceiling) -> float:
    """As many as were asked for, or so many that all devices together render their part of the ceiling."""
    if options.image_seconds is not None:
        return options.image_seconds
    mean_cost = sum(job.cost for job in jobs) / options.tasks
    return options.devices / (options.offered * reached.fleet.images_per_second * mean_cost)


def _wait_until_finished(farm: BenchFarm, deadline: float) -> None:
    while time.time() < deadline:
        with farm.database.begin() as session:
            if not session.execute(_UNFINISHED).scalar_one():
                return
        time.sleep(_LOOK_SECONDS)


def _look_over(farm: BenchFarm) -> Mapping[str, int]:
    """What is broken for good: the last deltas are folded a moment after the last publish."""
    deadline = time.monotonic() + (_SETTLE_SECONDS if farm.has_keeper else 0.0)
    while True:
        with farm.database.begin() as session:
            broken = find_broken(session)
        if not broken or time.monotonic() > deadline:
            return broken
        time.sleep(_LOOK_SECONDS)


@contextmanager
def scratch_farm(options: FleetOptions, *, has_keeper: bool = True) -> Iterator[BenchFarm]:
    """A farm for one run, with servers of its own; without a keeper nobody plans, and claims find work alone."""
    with scratch_servers() as servers:
        settings = servers.settings.model_copy(update={"max_batch": options.batch})
        processes = {"PostgreSQL": servers.postgres_pid, "Redis": servers.redis_pid}
        if not has_keeper:
            yield BenchFarm(settings, servers.database, processes)
            return
        with bench_farm.keep(settings, servers.database, servers.folder, processes) as farm:
            yield farm
