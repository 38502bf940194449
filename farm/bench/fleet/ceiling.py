"""The ceiling: how much this machine claims and publishes where no device ever renders."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from farm.bench.fleet import farm as bench_farm
from farm.bench.fleet.drivers import DriverProcesses, divide_devices
from farm.bench.fleet.farm import BenchFarm
from farm.bench.fleet.options import FleetOptions, Timing
from farm.bench.fleet.samples import Samples
from farm.bench.fleet.watch import Cost, Watch
from farm.bench.fleet.work import draw_jobs, spread_arrivals

_TIMING = Timing(image_seconds=1.0, load_seconds=0.0, is_waited=False)
_WARM_UP_SECONDS = 3.0


@dataclass(frozen=True)
class Ceiling:
    """What was reached in batches of one size, beside the renewals of all devices, in the best of the rounds."""

    batch: int
    claims_per_second: float
    images_per_second: float
    samples: Samples
    cost: Cost


def measure(farm: BenchFarm, options: FleetOptions, *, seconds: float, rounds: int) -> Sequence[Ceiling]:
    """Claim and publish as fast as goes, in turn in batches as large as may be and one by one."""
    checkpoints = bench_farm.fill(farm.database, options)
    bench_farm.submit_all(farm, list(spread_arrivals(draw_jobs(options), images_per_second=0)), checkpoints)
    sizes = dict.fromkeys((options.batch, 1))
    found: dict[int, list[Ceiling]] = {size: [] for size in sizes}
    for _ in range(rounds):
        for size in sizes:
            found[size].append(_measure_once(farm, replace(options, batch=size), seconds))
    return [max(each, key=lambda ceiling: ceiling.images_per_second) for each in found.values()]


def _measure_once(farm: BenchFarm, options: FleetOptions, seconds: float) -> Ceiling:
    orders = divide_devices(farm.settings, options, _TIMING, boot_seconds=_WARM_UP_SECONDS)
    with DriverProcesses(orders) as drivers, Watch(farm.database, farm.parts) as watch:
        drivers.begin()
        time.sleep(seconds)
        samples = drivers.finish()
    return Ceiling(
        options.batch,
        len(samples.claims) / samples.seconds,
        samples.published / samples.seconds,
        samples,
        watch.cost(samples.cpu_seconds),
    )
