"""Planning beside the keeper's rounds: nothing that goes wrong stops it, and one keeper of several plans."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import structlog.testing

from farm.embedded.machine import build_environment
from farm.queue.claim import claim
from farm.queue.offers.candidates import PLAN_SECONDS
from farm.upkeep.planning import Planning, shortest_rest
from tests.factories import LEASE_SECONDS, Scene, a_checkpoint
from tests.waiting import wait_until

_FRESH = "SELECT count(*) FROM plans WHERE planned_at > now() - interval '2 seconds'"


@pytest.fixture
def planning(scene: Scene) -> Iterator[Planning]:
    planning = Planning(scene.settings, scene.database, scene.doorbell)
    yield planning
    planning._leader.stop()
    planning._bell.close()


@contextmanager
def running(planning: Planning) -> Iterator[None]:
    thread = threading.Thread(target=planning.run)
    thread.start()
    yield
    planning.stop()
    thread.join(30)
    assert not thread.is_alive()


@contextmanager
def a_keeper(scene: Scene) -> Iterator["subprocess.Popen[bytes]"]:
    environment = {**os.environ, **build_environment(scene.settings)}
    process = subprocess.Popen([sys.executable, "-m", "farm", "keeper"], env=environment)
    yield process
    process.kill()
    process.wait()


def test_a_worker_gets_a_seat_for_what_waits(scene: Scene, planning: Planning) -> None:
    job_id = scene.submit(images_per_prompt=8)
    worker_id = scene.worker()
    planning.make_round()
    found = scene.scalar("SELECT group_id FROM seats WHERE worker_id = :id", id=worker_id)
    assert found == scene.scalar("SELECT group_id FROM counters WHERE job_id = :id", id=job_id)


def test_a_seat_is_claimed(scene: Scene, planning: Planning) -> None:
    scene.submit(images_per_prompt=8)
    worker_id = scene.worker()
    planning.make_round()
    with scene.database.begin() as session:
        batch = claim(session, worker_id, pool="default", limit=8, lease_seconds=LEASE_SECONDS)
    assert batch is not None
    images = scene.scalar("SELECT images FROM seats")
    assert len(batch.leases) == min(images, 8)


def test_rounds_go_on_in_spite_of_bugs(scene: Scene, planning: Planning) -> None:
    scene.worker()

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    planning._leader._make_plan = fail  # type: ignore[assignment]
    with structlog.testing.capture_logs() as logs:
        wait_until(lambda: (planning.make_round(), sum("step" in entry for entry in logs) == 2)[1])
    assert {entry["step"] for entry in logs if "step" in entry} == {"plan default"}


def test_a_database_that_is_away_is_waited_out(scene: Scene, planning: Planning) -> None:
    scene.worker()
    planning.make_round()
    scene.end_other_sessions()
    planning.make_round()
    wait_until(lambda: (planning.make_round(), planning.is_leading)[1], seconds=20)
    assert scene.scalar(_FRESH) == 1


def test_a_pool_is_planned_again_and_again_until_it_is_stopped(scene: Scene, planning: Planning) -> None:
    scene.worker()
    with running(planning):
        wait_until(lambda: scene.scalar(_FRESH))
        scene.execute("UPDATE plans SET planned_at = now() - interval '1 hour'")
        wait_until(lambda: scene.scalar(_FRESH))


def test_a_submit_is_planned_soon(scene: Scene, planning: Planning) -> None:
    a_checkpoint(scene.database)
    worker_id = scene.worker()
    with running(planning):
        wait_until(lambda: planning.is_leading)
        scene.submit()
        wait_until(lambda: scene.scalar("SELECT count(*) FROM seats WHERE worker_id = :id", id=worker_id))


def test_when_the_keeper_that_leads_is_killed_another_takes_over(scene: Scene) -> None:
    scene.worker()
    with a_keeper(scene) as first:
        wait_until(lambda: scene.scalar(_FRESH))
        with a_keeper(scene):
            first.kill()
            first.wait()
            scene.execute("DELETE FROM plans")
            wait_until(lambda: scene.scalar(_FRESH), seconds=60)


@pytest.mark.parametrize("took", [0.0, 0.1, 1.0, 2.5, 5.0, 7.0])
def test_a_leader_rests_and_plans_again_before_its_plan_is_stale(took: float) -> None:
    rests = shortest_rest(took)
    assert rests >= 0.2
    assert took + rests < PLAN_SECONDS
