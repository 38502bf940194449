"""Whether claimers spread over what waits, and whether small jobs of one batch key fill batches."""

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

from farm.bench.fleet import farm as bench_farm
from farm.bench.fleet import run as fleet_run
from farm.bench.fleet.calls import WorkerCalls
from farm.bench.fleet.farm import BenchFarm
from farm.bench.fleet.options import FleetOptions
from farm.bench.fleet.run import FleetFigures
from farm.bench.fleet.work import PlannedJob
from farm.bench.scratch import ScratchServers, scratch_servers

_CLAIMERS = 32
_DEVICES = 64
_JOBS, _IMAGES_OF_A_JOB = 1000, 4


@dataclass(frozen=True)
class SpreadFigures:
    """How many of the claimers were left without work, in each round."""

    claimers: int
    empty_handed: Sequence[int]


def measure_spread(rounds: int) -> SpreadFigures:
    """In each round many workers claim at one moment, and as many jobs of one image wait, each of its own key."""
    options = FleetOptions(devices=_CLAIMERS, owners=1, checkpoints=1)
    jobs = [_one_image(steps) for steps in range(1, 1 + _CLAIMERS)]
    with scratch_servers() as servers, ExitStack() as stack:
        checkpoints = bench_farm.fill(servers.database, options)
        claimers = [stack.enter_context(_Claimer(servers, number)) for number in range(_CLAIMERS)]
        farm = BenchFarm(servers.settings, servers.database, {})
        found = []
        for _ in range(rounds):
            bench_farm.submit_all(farm, [(0.0, job) for job in jobs], checkpoints)
            found.append(_CLAIMERS - _claim_at_once(claimers))
            while claimers[0].work():
                pass
    return SpreadFigures(_CLAIMERS, found)


def measure_fill(*, has_planner: bool, image_seconds: float) -> FleetFigures:
    """Images of one batch key in many jobs, rendered by many devices: how full are their batches?"""
    options = FleetOptions(
        devices=_DEVICES, tasks=_JOBS * _IMAGES_OF_A_JOB, owners=1, checkpoints=1, load_seconds=0.0, drivers=1
    )
    job = PlannedJob(0, 0, 512, 512, _IMAGES_OF_A_JOB, "bulk", 50)
    with fleet_run.scratch_farm(options, has_keeper=has_planner) as farm:
        return fleet_run.run(farm, options, [job] * _JOBS, image_seconds=image_seconds)


class _Claimer:
    """A worker with a thread and connections of its own, open before the moment comes."""

    def __init__(self, servers: ScratchServers, number: int) -> None:
        self._calls = WorkerCalls(servers.settings, batch=8)
        self._thread = ThreadPoolExecutor(1)
        [self.worker_id] = self._thread.submit(self._calls.register, [number]).result()

    def __enter__(self) -> "_Claimer":
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.submit(self._calls.close).result()
        self._thread.shutdown()

    def claim(self, moment: threading.Barrier) -> Future[bool]:
        """Report for work, and claim when all others do; whether there was something."""
        return self._thread.submit(self._claim, moment)

    def work(self) -> bool:
        """Claim and publish, if there is something."""
        return self._thread.submit(self._work).result()

    def _claim(self, moment: threading.Barrier) -> bool:
        self._calls.beat(self.worker_id, (), (), busy_seconds=None)
        moment.wait()
        return self._work()

    def _work(self) -> bool:
        work = self._calls.claim(self.worker_id, (), ()).work
        if work is not None:
            self._calls.publish(work, load_seconds=0.0, render_seconds=1.0)
        return work is not None


def _claim_at_once(claimers: Sequence[_Claimer]) -> int:
    """How many of them got work."""
    moment = threading.Barrier(len(claimers))
    claims = [claimer.claim(moment) for claimer in claimers]
    return sum(claim.result() for claim in claims)


def _one_image(steps: int) -> PlannedJob:
    """Another number of steps is another batch key."""
    return PlannedJob(0, 0, 512, 512, 1, "bulk", 50, steps)
