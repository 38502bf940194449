"""The planner's bell is heard, and holds nobody up."""

import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from farm.queue.planbell import PlanBell
from tests.factories import Scene


@pytest.fixture
def bell(scene: Scene) -> Iterator[PlanBell]:
    with closing(PlanBell(scene.settings.required_redis_url)) as bell:
        yield bell


def test_a_ring_is_heard(bell: PlanBell, scene: Scene) -> None:
    bell.wait(0.01)
    threading.Timer(0.2, lambda: scene.doorbell.ring("default")).start()
    assert bell.wait(10)


def test_rings_that_came_together_are_one(bell: PlanBell, scene: Scene) -> None:
    bell.wait(0.01)
    for _ in range(5):
        scene.doorbell.ring("default")
    assert [bell.wait(5), bell.wait(0.05)] == [True, False]


def test_workers_can_be_rung_without_the_planner(bell: PlanBell, scene: Scene) -> None:
    bell.wait(0.01)
    assert scene.doorbell.ring_workers("default")
    assert not bell.wait(0.05)


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1", "unix:///nowhere/redis.sock", "no url at all"])
def test_a_redis_that_is_away_is_waited_out(url: str) -> None:
    started = time.monotonic()
    with closing(PlanBell(url)) as bell:
        bell.ring("default")
        assert not bell.wait(0.1)
    assert 0.1 <= time.monotonic() - started < 5
