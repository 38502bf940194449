"""Processes that die, stop and come back while work is under way."""

import signal

from sqlalchemy import text

from tests.farms import RunningFarm
from tests.waiting import wait_until

SLOW = {"width": 192, "height": 192, "num_inference_steps": 50}


def attempts(farm: RunningFarm, job_id: int) -> list[tuple[int, str]]:
    query = "SELECT number, outcome FROM attempts JOIN tasks ON id = task_id WHERE job_id = :job ORDER BY number"
    with farm.database.begin() as session:
        return [(row.number, row.outcome) for row in session.execute(text(query), {"job": job_id})]


def test_a_killed_child_costs_its_task_one_attempt(two_workers: RunningFarm) -> None:
    job_id = two_workers.submit(**SLOW)
    two_workers.renderer(job_id).kill()
    assert two_workers.finish(job_id).status == "succeeded"
    assert attempts(two_workers, job_id) == [(1, "lost"), (2, "succeeded")]
    assert len(list(two_workers.client.images(job_id))) == 1


def test_a_killed_child_is_replaced(two_workers: RunningFarm) -> None:
    two_workers.wait_until_idle(2)
    before = two_workers.idle_workers()
    killed = two_workers.children(2)[0]
    killed.kill()
    wait_until(lambda: len(two_workers.idle_workers() - before) == 1)
    assert killed not in two_workers.children(2)


def test_a_job_finishes_although_redis_was_killed(two_workers: RunningFarm) -> None:
    job_id = two_workers.submit(images_per_prompt=2, **SLOW)
    two_workers.wait_until_rendering(job_id)
    killed = two_workers.process("valkey-server")
    killed.kill()
    after = two_workers.submit(images_per_prompt=2)
    assert two_workers.finish(job_id).status == "succeeded"
    assert two_workers.finish(after).status == "succeeded"
    # `farm up` tends it all the time.
    two_workers.farm.keep_running()
    assert two_workers.process("valkey-server") != killed


def test_a_worker_stopped_past_its_lease_cannot_publish(two_workers: RunningFarm) -> None:
    two_workers.wait_until_idle(2)
    job_id = two_workers.submit(**SLOW)
    stopped = two_workers.renderer(job_id)
    stopped.send_signal(signal.SIGSTOP)
    wait_until(lambda: attempts(two_workers, job_id)[:1] == [(1, "lost")])
    assert two_workers.finish(job_id).status == "succeeded"
    stopped.send_signal(signal.SIGCONT)
    two_workers.wait_until_idle(2)
    assert [image.attempt for image in two_workers.client.images(job_id)] == [2]
    assert attempts(two_workers, job_id) == [(1, "lost"), (2, "succeeded")]
