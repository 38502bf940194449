"""Which process is pinned to which device."""

import psutil
import pytest
from sqlalchemy import text

from farm.config import Settings
from tests.farms import RunningFarm
from tests.waiting import wait_until
from workers.parent.children import start_child
from workers.parent.devices import choose_devices
from workers.parent.nvidia import GpuListing


def test_two_children_share_the_tasks_of_one_job(two_workers: RunningFarm) -> None:
    two_workers.wait_until_idle(2)
    job_id = two_workers.submit(images_per_prompt=16, num_inference_steps=20)
    assert two_workers.finish(job_id).images.succeeded == 16
    query = "SELECT count(DISTINCT attempts.worker_id) FROM attempts JOIN tasks ON id = task_id WHERE job_id = :job"
    with two_workers.database.begin() as session:
        assert session.execute(text(query), {"job": job_id}).scalar_one() == 2


def test_a_child_on_the_cpu_sees_no_gpu(two_workers: RunningFarm) -> None:
    assert [child.environ()["CUDA_VISIBLE_DEVICES"] for child in two_workers.children(2)] == ["", ""]


def test_the_parent_never_loads_torch(two_workers: RunningFarm) -> None:
    (parent,) = {child.parent() for child in two_workers.children(2)}
    assert parent is not None
    assert not any("torch" in mapped.path for mapped in parent.memory_maps())


@pytest.mark.parametrize(("wish", "visible"), [("1", "1"), ("GPU-5e1f-42", "GPU-5e1f-42")])
def test_a_child_is_pinned_before_its_interpreter_starts(settings: Settings, wish: str, visible: str) -> None:
    (device,) = choose_devices(wish, GpuListing())
    # As a context it closes its three pipes, once it is dead.
    with start_child(settings, device, worker_id=0, threads=1) as child:
        try:
            process = psutil.Process(child.pid)
            wait_until(lambda: "CUDA_VISIBLE_DEVICES" in process.environ())
            assert process.environ()["CUDA_VISIBLE_DEVICES"] == visible
        finally:
            child.kill()
