"""The ceiling: how much this machine claims and publishes where no device ever renders."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from farm.bench.fleet import farm as bench_farm
from farm.bench.fleet import flatout
from farm.bench.fleet.devices.processes import DriverProcesses, divide_devices
from farm.bench.fleet.farm import BenchFarm
from farm.bench.fleet.figures.samples import Samples
from farm.bench.fleet.figures.watch import Cost, Watch
from farm.bench.fleet.flatout import FlatOut
from farm.bench.fleet.options import FleetOptions, Timing
from farm.bench.fleet.work import draw_jobs, spread_arrivals

_TIMING = Timing(image_seconds=1.0, load_seconds=0.0, is_waited=False)
_WARM_UP_SECONDS = 3.0


@dataclass(frozen=True)
class FleetCeiling:
    """What all devices reach that claim, publish and renew, and do nothing else."""

    samples: Samples
    cost: Cost

    @property
    def claims_per_second(self) -> float:
        return len(self.samples.claims) / self.samples.seconds

    @property
    def images_per_second(self) -> float:
        return self.samples.published / self.samples.seconds


@dataclass(frozen=True)
class Ceiling:
    """The best of all rounds: each kind of call alone, in batches and one by one; and all together."""

    alone: Sequence[FlatOut]
    fleet: FleetCeiling


def measure(farm: BenchFarm, options: FleetOptions, *, seconds: float, rounds: int) -> Ceiling:
    """Claim and publish as fast as goes, in turn in batches as large as may be, one by one, and as a fleet."""
    checkpoints = bench_farm.fill(farm.database, options)
    bench_farm.submit_all(farm, list(spread_arrivals(draw_jobs(options), images_per_second=0)), checkpoints)
    sizes = (options.batch, 1)
    alone: dict[int, list[FlatOut]] = {size: [] for size in sizes}
    fleets = []
    for _ in range(rounds):
        for size in sizes:
            alone[size].append(flatout.measure(farm, replace(options, batch=size), seconds=seconds))
        fleets.append(_measure_fleet(farm, options, seconds))
    return Ceiling(
        [_best(size, found) for size, found in alone.items()],
        max(fleets, key=lambda fleet: fleet.images_per_second),
    )


def _measure_fleet(farm: BenchFarm, options: FleetOptions, seconds: float) -> FleetCeiling:
    orders = divide_devices(farm.settings, options, _TIMING, boot_seconds=_WARM_UP_SECONDS)
    with DriverProcesses(orders) as drivers, Watch(farm.database, farm.parts) as watch:
        drivers.begin()
        time.sleep(_WARM_UP_SECONDS + seconds)
        samples = drivers.finish()
    return FleetCeiling(samples, watch.cost(samples.cpu_seconds))


def _best(size: int, found: Iterable[FlatOut]) -> FlatOut:
    """Whatever else a machine does only takes away."""
    found = list(found)
    return FlatOut(
        size,
        max(each.claims_per_second for each in found),
        max(each.claimed_per_second for each in found),
        max(each.published_per_second for each in found),
    )
