"""Which process is pinned to which device."""

from collections.abc import Iterator

import psutil
import pytest
from sqlalchemy import text

from farm.config import Settings
from tests.farms import RunningFarm, run_farm
from tests.waiting import wait_until
from workers.device import choose_devices
from workers.supervisor import start_child


@pytest.fixture(scope="module")
def running() -> Iterator[RunningFarm]:
    with run_farm("cpu:2") as farm:
        yield farm


def test_two_children_share_the_tasks_of_one_job(running: RunningFarm) -> None:
    wait_until(lambda: [worker.status for worker in running.client.workers()] == ["idle", "idle"])
    job_id = running.submit(images_per_prompt=16, num_inference_steps=20)
    assert running.finish(job_id).images.succeeded == 16
    query = "SELECT count(DISTINCT attempts.worker_id) FROM attempts JOIN tasks ON id = task_id WHERE job_id = :job"
    with running.database.begin() as session:
        assert session.execute(text(query), {"job": job_id}).scalar_one() == 2


def test_a_child_on_the_cpu_sees_no_gpu(running: RunningFarm) -> None:
    assert [child.environ()["CUDA_VISIBLE_DEVICES"] for child in running.children(2)] == ["", ""]


def test_the_parent_never_loads_torch(running: RunningFarm) -> None:
    (parent,) = {child.parent() for child in running.children(2)}
    assert parent is not None
    assert not any("torch" in mapped.path for mapped in parent.memory_maps())


@pytest.mark.parametrize(("wish", "visible"), [("1", "1"), ("GPU-5e1f-42", "GPU-5e1f-42")])
def test_a_child_is_pinned_before_its_interpreter_starts(settings: Settings, wish: str, visible: str) -> None:
    (device,) = choose_devices(wish, gpus=[])
    # As a context it closes its three pipes, once it is dead.
    with start_child(settings, device, worker_id=0, threads=1) as child:
        try:
            process = psutil.Process(child.pid)
            wait_until(lambda: "CUDA_VISIBLE_DEVICES" in process.environ())
            assert process.environ()["CUDA_VISIBLE_DEVICES"] == visible
        finally:
            child.kill()
