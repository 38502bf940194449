"""From prompt to stored image, through every process of the farm."""

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from farm.reports.shapes import ImageReport
from farm.weights import checkpoints
from farm.weights.folder import inspect_folder
from farm.weights.presets import preset
from tests.farms import RunningFarm


def pixels(running: RunningFarm, image: ImageReport) -> np.ndarray:
    return np.asarray(running.fetch(image))


def test_a_batch_ends_with_one_distinct_image_for_each_prompt_and_seed(running: RunningFarm) -> None:
    job_id = running.submit(prompts=["a lighthouse", "a fox"], images_per_prompt=3, seed=7)
    assert running.finish(job_id).status == "succeeded"
    images = list(running.client.images(job_id))
    assert [image.spec["seed"] for image in images] == [7, 8, 9, 7, 8, 9]
    assert len({pixels(running, image).tobytes() for image in images}) == 6


def test_the_recorded_hash_is_that_of_the_stored_object(running: RunningFarm) -> None:
    job_id = running.submit()
    running.finish(job_id)
    (image,) = running.client.images(job_id)
    assert hashlib.sha256(running.fetch_file(image)).hexdigest() == image.sha256


def test_the_same_spec_gives_byte_identical_pixels(running: RunningFarm) -> None:
    jobs = [running.submit(seed=11, deterministic=True) for _ in range(2)]
    for job_id in jobs:
        running.finish(job_id)
    first, second = (next(iter(running.client.images(job_id))) for job_id in jobs)
    assert np.array_equal(pixels(running, first), pixels(running, second))


def test_an_image_carries_the_parameters_text(running: RunningFarm) -> None:
    job_id = running.submit(prompts=["a red fox"], negative_prompt="blurry", seed=5, sampler="Euler a")
    running.finish(job_id)
    (image,) = running.client.images(job_id)
    text = running.fetch(image).info["parameters"]
    assert text.startswith("a red fox\nNegative prompt: blurry\nSteps: 4, Sampler: Euler a, Schedule type: ")
    assert "CFG scale: 7, Seed: 5, Size: 64x64, Model hash: " in text


def test_an_image_records_what_made_it(running: RunningFarm) -> None:
    job_id = running.submit(images_per_prompt=2)
    running.finish(job_id)
    provenance = next(iter(running.client.images(job_id))).provenance
    assert provenance["bucket"] in (1, 2)
    assert {"checkpoint_sha256", "device", "precision", "versions"} <= provenance.keys()


def test_a_cancelled_job_stops_rendering_between_steps(running: RunningFarm) -> None:
    job_id = running.submit(width=512, height=512, num_inference_steps=150)
    running.wait_until_rendering(job_id)
    running.client.act(job_id, "cancel")
    after = running.submit()
    assert running.finish(after).status == "succeeded"
    assert running.client.job(job_id).status == "cancelled"
    assert list(running.client.images(job_id)) == []


@pytest.fixture
def cut_short(running: RunningFarm, tmp_path: Path) -> Iterator[str]:
    """The name of a checkpoint whose UNet was cut short after it had been registered."""
    folder = tmp_path / "cut-short"
    shutil.copytree(preset("demo").source, folder)
    (folder / "another.txt").write_text("Not the same checkpoint as the one it was copied from.")
    with running.database.begin() as session:
        checkpoints.add(session, folder.name, inspect_folder(folder))
    (folder / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"cut short")
    yield folder.name
    with running.database.begin() as session:
        checkpoints.remove(session, folder.name)


def test_a_task_that_fails_says_why(running: RunningFarm, cut_short: str) -> None:
    job_id = running.submit(checkpoint=cut_short)
    assert running.finish(job_id).status == "failed"
    (task,) = running.client.tasks(job_id, status="failed")
    assert "'cut-short' does not load" in (task.reason or "")
    assert task.attempt == running.farm.settings.max_attempts
