"""An image in the spool outlives the process that rendered it; no keeper is there to give its task to another."""

from pathlib import Path

import pytest

from tests.chaos.conftest import Run
from tests.factories import Scene
from tests.waiting import wait_until


@pytest.mark.parametrize("point", ["worker.spooled", "worker.uploaded", "worker.stored", "worker.publishing"])
def test_an_image_in_the_spool_outlives_its_worker(scene: Scene, run: Run, tmp_path: Path, point: str) -> None:
    (tmp_path / "points").mkdir()
    (tmp_path / "points" / point).touch()
    run("tests.chaos.worker", "--devices", "cpu", FARM_CRASH_POINTS=str(tmp_path / "points"))
    job_id = scene.submit(images_per_prompt=1, width=64, height=64, num_inference_steps=2)
    wait_until(lambda: scene.job(job_id).finished_at)
    assert not (tmp_path / "points" / point).exists()
    assert scene.scalar("SELECT array_agg(outcome) FROM attempts") == ["succeeded"]
