"""A render that hangs is noticed, one that is only slow is not."""

import time
from collections.abc import Iterator

import pytest

from workers.loop.stall import StallWatch

KIND = ("sd15", 512, 512)
OTHER = ("sd15", 64, 64)


@pytest.fixture
def stalls() -> list[str]:
    return []


@pytest.fixture
def watch(stalls: list[str]) -> Iterator[StallWatch]:
    """A watch with a patience of a fifth of a second."""
    watch = StallWatch(0.2, stalls.append)
    watch.start()
    yield watch
    watch.stop()


def learn(watch: StallWatch, step_seconds: float) -> None:
    """Make two steps that take so long."""
    with watch.watch(KIND):
        watch.step()
        time.sleep(step_seconds)
        watch.step()


def test_a_render_without_a_step_is_a_stall(watch: StallWatch, stalls: list[str]) -> None:
    learn(watch, 0.01)
    with watch.watch(KIND):
        watch.step()
        time.sleep(1.5)
    assert len(stalls) == 1
    assert "no step for" in stalls[0]
    assert "after step 1" in stalls[0]


def test_a_worker_that_renders_nothing_does_not_stall(watch: StallWatch, stalls: list[str]) -> None:
    learn(watch, 0.01)
    time.sleep(1)
    assert stalls == []


def test_the_bound_is_learned_from_the_slowest_step_of_the_kind(watch: StallWatch) -> None:
    learn(watch, 0.1)
    assert watch.bound_seconds(KIND, steps=1) >= 1
    assert watch.bound_seconds(KIND, steps=1) == pytest.approx(1, rel=0.9)


def test_the_bound_is_never_less_than_the_patience(watch: StallWatch) -> None:
    learn(watch, 0.001)
    assert watch.bound_seconds(KIND, steps=1) == 0.2


def test_a_new_kind_of_batch_or_one_that_loads_has_five_times_the_patience(watch: StallWatch) -> None:
    learn(watch, 0.001)
    assert watch.bound_seconds(OTHER, steps=3) == pytest.approx(1)
    assert watch.bound_seconds(KIND, steps=0) == pytest.approx(1)


def test_the_bound_of_a_stall_allows_for_the_time_to_fetch_weights() -> None:
    watch = StallWatch(0.2, lambda _error: None)
    with watch.watch(KIND, fetched_bytes=40 * 2**20):
        assert watch.bound_seconds(KIND, steps=0) == pytest.approx(11)
        assert watch.bound_seconds(KIND, steps=1) == pytest.approx(1)
