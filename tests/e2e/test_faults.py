"""Processes that die, stop and come back while work is under way."""

import signal
from collections.abc import Iterator

import pytest
from sqlalchemy import text

from tests.farms import RunningFarm, run_farm, run_worker
from tests.waiting import wait_until

SLOW = {"width": 192, "height": 192, "num_inference_steps": 50}


@pytest.fixture(scope="module")
def running() -> Iterator[RunningFarm]:
    """A farm whose worker processes may be killed: it replaces them."""
    with run_farm("cpu") as farm:
        yield farm


@pytest.fixture
def doomed() -> Iterator[RunningFarm]:
    """A farm whose servers may be killed."""
    with run_farm("cpu") as farm:
        yield farm


def attempts(running: RunningFarm, job_id: int) -> list[tuple[int, str]]:
    query = "SELECT number, outcome FROM attempts JOIN tasks ON id = task_id WHERE job_id = :job ORDER BY number"
    with running.database.begin() as session:
        return [(row.number, row.outcome) for row in session.execute(text(query), {"job": job_id})]


def test_a_killed_child_costs_its_task_one_attempt(running: RunningFarm) -> None:
    job_id = running.submit(**SLOW)
    running.wait_until_rendering(job_id)
    running.children(1)[0].kill()
    assert running.finish(job_id).status == "succeeded"
    assert attempts(running, job_id) == [(1, "lost"), (2, "succeeded")]
    assert len(list(running.client.images(job_id))) == 1


def test_a_job_finishes_although_redis_was_killed(doomed: RunningFarm) -> None:
    job_id = doomed.submit(images_per_prompt=2, **SLOW)
    doomed.wait_until_rendering(job_id)
    doomed.process("redis-server").kill()
    after = doomed.submit(images_per_prompt=2)
    assert doomed.finish(job_id).status == "succeeded"
    assert doomed.finish(after).status == "succeeded"


def test_a_worker_stopped_past_its_lease_cannot_publish(running: RunningFarm) -> None:
    job_id = running.submit(**SLOW)
    running.wait_until_rendering(job_id)
    (child,) = running.children(1)
    child.send_signal(signal.SIGSTOP)
    wait_until(lambda: attempts(running, job_id) == [(1, "lost")])
    with run_worker(running, "cpu"):
        assert running.finish(job_id).status == "succeeded"
        child.send_signal(signal.SIGCONT)
        after = running.submit()
        running.finish(after)
    assert [image.attempt for image in running.client.images(job_id)] == [2]
    assert attempts(running, job_id) == [(1, "lost"), (2, "succeeded")]
