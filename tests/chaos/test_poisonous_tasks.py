"""Tasks that kill or hang the worker that renders them."""

from collections.abc import Sequence
from typing import Any

from tests.chaos.conftest import Run
from tests.chaos.tampering import NO_PAUSE
from tests.factories import Scene
from tests.waiting import wait_until

SMALL = {"width": 64, "height": 64, "num_inference_steps": 2}


def finish(scene: Scene, job_id: int) -> str:
    wait_until(lambda: scene.job(job_id).finished_at)
    return scene.job(job_id).status


def attempts(scene: Scene, column: str, prompt: str) -> Sequence[Any]:
    """A column of the attempts that tried the prompt, in their order."""
    query = (
        f"SELECT array_agg({column} ORDER BY number) FROM attempts JOIN tasks ON id = task_id "
        "WHERE spec ->> 'prompt' = :prompt"
    )
    found: Sequence[Any] = scene.scalar(query, prompt=prompt)
    return found


def test_a_task_that_kills_its_worker_is_set_aside_with_its_evidence(scene: Scene, run: Run) -> None:
    job_id = scene.submit(prompts=["a fox", "crash", "a hen"], images_per_prompt=1, **SMALL)
    run("tests.chaos.worker", "--devices", "cpu", **{NO_PAUSE: "1"})
    assert finish(scene, job_id) == "failed"
    assert scene.statuses(job_id) == ["succeeded", "failed", "succeeded"]
    assert "quarantined" in str(scene.tasks(job_id)[1].reason)
    assert "killed by SIGSEGV" in str(scene.tasks(job_id)[1].reason)
    assert all("about to crash" in tail for tail in attempts(scene, "log_tail", "crash"))


def test_a_task_that_killed_a_worker_is_retried_alone(scene: Scene, run: Run) -> None:
    job_id = scene.submit(prompts=["a fox", "crash", "a hen"], images_per_prompt=1, **SMALL)
    run("tests.chaos.worker", "--devices", "cpu", FARM_LEASE_SECONDS="30", **{NO_PAUSE: "1"})
    finish(scene, job_id)
    assert attempts(scene, "batch_size", "crash") == [3, *[1] * 7]
    assert attempts(scene, "outcome", "a fox") == ["lost", "succeeded"]


def test_a_render_that_hangs_is_ended_with_its_process_and_its_job_goes_on(scene: Scene, run: Run) -> None:
    job_id = scene.submit(prompts=["a fox", "hang"], images_per_prompt=1, deterministic=True, **SMALL)
    run("tests.chaos.worker", "--devices", "cpu", FARM_STALL_SECONDS="1")
    assert finish(scene, job_id) == "failed"
    assert scene.statuses(job_id) == ["succeeded", "failed"]
    assert set(attempts(scene, "outcome", "hang")) == {"failed"}
    assert "stalled: no step for" in str(scene.tasks(job_id)[1].reason)
