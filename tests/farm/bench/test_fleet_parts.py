"""The parts of a simulated fleet, each by itself."""

import random
import time
from collections import Counter

import pytest

from farm.bench.fleet.calls import ClaimedWork, WorkerCalls
from farm.bench.fleet.devices.device import Device
from farm.bench.fleet.devices.timers import Timers
from farm.bench.fleet.figures.fairness import deviation, find_level
from farm.bench.fleet.figures.samples import Samples, quantile
from farm.bench.fleet.figures.watch import Cost
from farm.bench.fleet.options import POOL, FleetOptions, Timing
from farm.bench.fleet.run import ideal_seconds
from farm.bench.fleet.work import PlannedJob, draw_jobs, spread_arrivals
from farm.queue import claim
from farm.queue.claimed import Lease
from tests.factories import Scene, a_spec

SMALL = FleetOptions(devices=10, tasks=5000, owners=20, checkpoints=30)
TIMING = Timing(image_seconds=1.0, load_seconds=15.0)


def a_job(**fields: object) -> PlannedJob:
    sides = {"width": 512, "height": 512}
    return PlannedJob(
        **{"owner": 0, "checkpoint": 0, "images": 10, "work_class": "bulk", "priority": 50, **sides, **fields}
    )


def work(checkpoint_id: int, images: int = 2) -> ClaimedWork:
    leases = tuple(Lease(number, 1, 1, a_spec()) for number in range(images))
    return ClaimedWork(checkpoint_id, leases, float(images))


def test_the_same_seed_draws_the_same_jobs() -> None:
    assert draw_jobs(SMALL) == draw_jobs(SMALL)


def test_jobs_have_the_images_that_were_asked_for() -> None:
    assert sum(job.images for job in draw_jobs(SMALL)) == SMALL.tasks


def test_popular_checkpoints_are_wanted_most() -> None:
    counts = Counter(job.checkpoint for job in draw_jobs(FleetOptions(tasks=100_000)))
    assert sum(counts[n] for n in range(10)) > sum(counts[n] for n in range(100, 200))


def test_all_jobs_come_at_once_without_a_rate() -> None:
    assert {due for due, _ in spread_arrivals(draw_jobs(SMALL), images_per_second=0)} == {0.0}


def test_jobs_come_as_fast_as_the_rate_says() -> None:
    arrivals = spread_arrivals([a_job(images=10), a_job(images=30), a_job()], images_per_second=5)
    assert [due for due, _ in arrivals] == [0.0, 2.0, 8.0]


def test_a_device_loads_what_does_not_lie_on_it() -> None:
    device = Device.make(1, 1, random.Random(1))
    assert [device.start(work(checkpoint), TIMING)[0] for checkpoint in (7, 7, 8, 7)] == [15.0, 0.0, 15.0, 15.0]


def test_a_device_with_two_slots_drops_what_was_used_longest_ago() -> None:
    device = Device.make(1, 2, random.Random(1))
    loads = [device.start(work(checkpoint), TIMING)[0] for checkpoint in (7, 8, 7, 9, 7, 8)]
    assert loads == [15.0, 15.0, 0.0, 15.0, 0.0, 15.0]


def test_a_device_holds_what_it_took_until_it_drops_it() -> None:
    device = Device.make(1, 1, random.Random(1))
    device.start(taken := work(7), TIMING)
    device.drop(taken.leases[:1])
    assert list(device.held.values()) == [taken.leases[1]]


def test_a_device_takes_the_work_of_others_while_the_devices_of_a_job_are_counted(scene: Scene) -> None:
    scene.submit(pool=POOL, images_per_prompt=3, max_devices=1, priority=90)
    other = scene.submit(pool=POOL)
    calls = WorkerCalls(scene.settings, batch=4)
    [worker_id] = calls.register([0])
    with scene.database.begin() as rival:
        assert claim.claim(rival, scene.worker(pool=POOL), pool=POOL, limit=1, lease_seconds=30)
        work = calls.claim(worker_id, (), ()).work
    calls.close()
    assert work is not None
    assert [lease.job_id for lease in work.leases] == [other]


def test_a_level_fills_small_wishes_and_divides_the_rest() -> None:
    assert find_level([1, 10, 10], 13) == 6


def test_a_level_is_the_largest_wish_where_there_is_enough() -> None:
    assert find_level([1, 4], 100) == 4


def test_an_owner_with_little_work_is_not_off_the_share_with_all_of_it() -> None:
    found = deviation({1: 1.0, 2: 6.0, 3: 6.0}, {1: 1.0, 2: 10.0, 3: 10.0})
    assert found.worst == 0


def test_an_owner_with_half_of_the_share_is_off_by_half() -> None:
    assert deviation({1: 2.0, 2: 6.0}, {1: 10.0, 2: 10.0}).worst == 0.5


@pytest.mark.parametrize(("part", "value"), [(0.5, 2), (0.95, 4), (1.0, 4)])
def test_a_quantile_is_one_of_the_values(part: float, value: float) -> None:
    assert quantile([4, 1, 2, 3], part) == value


def test_samples_of_processes_are_added_up() -> None:
    first = Samples(claims=[1.0], published=3, first_claim_at=10.0, last_publish_at=20.0)
    second = Samples(claims=[2.0], published=4, first_claim_at=12.0, last_publish_at=25.0)
    merged = Samples.merge([first, second])
    assert (merged.claims, merged.published, merged.seconds) == ([1.0, 2.0], 7, 15.0)


def test_timers_are_called_in_their_order() -> None:
    timers, called = Timers(threads=1), []
    now = time.monotonic()
    timers.set(now + 0.02, lambda _: called.append("later"))
    timers.set(now, lambda _: called.append("first"))
    timers.start()
    timers.set(now + 0.01, lambda _: called.append("second"))
    while len(called) < 3:
        time.sleep(0.005)
    timers.close()
    assert called == ["first", "second", "later"]


def test_a_timer_that_is_not_due_is_forgotten_when_all_are_closed() -> None:
    timers, called = Timers(threads=2), []
    timers.start()
    timers.set(time.monotonic() + 3600, called.append)
    timers.close()
    assert called == []


def test_the_processor_binds_where_it_is_full() -> None:
    cost = Cost(10, 2, {"PostgreSQL": 14.0, "the keeper": 5.0}, {"CPU": 5, "IO/WalSync": 50}, {})
    assert cost.binds == "the processor: 1.90 of 2 cores, most of it PostgreSQL (74%)"


def test_a_wait_binds_where_the_processor_is_not_full() -> None:
    cost = Cost(10, 2, {"PostgreSQL": 4.0}, {"CPU": 50, "IO/WalSync": 30, "Lock/tuple": 20}, {})
    assert cost.binds.startswith("waits for IO/WalSync (30%")


def test_the_ideal_loads_once_a_device_and_waits_for_what_comes_late() -> None:
    options = FleetOptions(devices=10)
    arrivals = [(0.0, a_job(images=100)), (50.0, a_job(images=20))]
    # 50 s until the second comes, 2 s of it, a load, and half of one until the mean device has started.
    assert ideal_seconds(options, TIMING, arrivals) == 50 + 2 + 15 + 7.5
