"""Postgres' clock is set, ahead or back: what lives is not taken for dead."""

from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace

import pytest

from farm.upkeep.keeper import Keeper
from tests.clocks import SetClock
from tests.factories import LEASE_SECONDS, Scene


@pytest.fixture
def stepping(scene: Scene, clock: SetClock) -> Iterator[Scene]:
    """The farm by that clock."""
    with clock.database() as database:
        yield replace(scene, database=database)


@pytest.fixture
def keeper(stepping: Scene) -> Keeper:
    """One that has made a round."""
    keeper = Keeper(stepping.settings, stepping.database, stepping.doorbell)
    keeper.make_round()
    return keeper


class Later:
    """The keeper's own clock, which a test puts forward."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds = 1000.0
        monkeypatch.setattr("farm.upkeep.keeper.time", SimpleNamespace(monotonic=lambda: self.seconds))


@pytest.mark.parametrize("step", [60, 7 * 86_400, -86_400], ids=["a minute", "a week", "back by a day"])
def test_a_worker_that_lives_keeps_its_tasks_though_the_clock_is_set(
    stepping: Scene, keeper: Keeper, clock: SetClock, step: float
) -> None:
    job_id = stepping.submit()
    worker_id = stepping.worker()
    held = stepping.claim(worker_id)
    keeper.make_round()
    clock.set_ahead(step)
    keeper.make_round()
    assert stepping.statuses(job_id) == ["running"]
    assert stepping.scalar("SELECT status FROM workers") == "idle"
    assert stepping.renew(worker_id, *held) == set(held)
    assert stepping.expire() == 0


def test_a_worker_that_is_dead_loses_its_tasks_a_lease_after_the_clock_was_set(
    stepping: Scene, keeper: Keeper, clock: SetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = Later(monkeypatch)
    job_id = stepping.submit()
    stepping.claim(stepping.worker())
    clock.set_ahead(LEASE_SECONDS + 60)
    for seconds, status in ((0, "running"), (stepping.settings.lease_seconds - 1, "running"), (1, "queued")):
        later.seconds += seconds
        keeper.make_round()
        assert stepping.statuses(job_id) == [status]


def test_a_clock_that_is_set_again_meanwhile_is_waited_for_again(
    stepping: Scene, keeper: Keeper, clock: SetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = Later(monkeypatch)
    job_id = stepping.submit()
    stepping.claim(stepping.worker())
    for _ in range(3):
        clock.set_ahead(LEASE_SECONDS)
        keeper.make_round()
        later.seconds += stepping.settings.lease_seconds - 1
    assert stepping.statuses(job_id) == ["running"]


def test_a_small_step_postpones_nothing(stepping: Scene, keeper: Keeper, clock: SetClock) -> None:
    job_id = stepping.submit()
    worker_id = stepping.worker()
    stepping.claim(worker_id)
    stepping.let_lease_end_of(worker_id)
    clock.set_ahead(stepping.settings.lease_seconds / 5)
    keeper.make_round()
    assert stepping.statuses(job_id) == ["queued"]


def test_lines_that_seem_to_be_ready_from_later_on_are_ready_since_the_clock_was_set_back(
    stepping: Scene, keeper: Keeper, clock: SetClock
) -> None:
    stepping.submit()
    clock.set_ahead(-3600)
    keeper.make_round()
    keeper.make_round()
    assert stepping.scalar("SELECT ready_at <= now() FROM counters")


def test_a_keeper_that_starts_cuts_such_times_too(stepping: Scene) -> None:
    stepping.submit()
    stepping.execute("UPDATE counters SET ready_at = now() + interval '1 hour'")
    Keeper(stepping.settings, stepping.database, stepping.doorbell).make_round()
    assert stepping.scalar("SELECT ready_at <= now() FROM counters")


def test_a_silent_worker_is_gone_though_it_was_heard_of_later_than_now(stepping: Scene, keeper: Keeper) -> None:
    """The clock was set back since, while no keeper looked."""
    stepping.worker()
    stepping.execute("UPDATE workers SET last_seen_at = now() + interval '1 hour'")
    keeper.make_round()
    assert stepping.scalar("SELECT status FROM workers") == "offline"
