"""What a request would become, without becoming it."""

import pytest
from sqlalchemy import update

from farm.db.tables.jobs import Task
from farm.errors import InvalidRequest
from farm.intake import submit
from farm.pictures.uploads import Desk
from farm.spec.image import ImageToImageSpec, TextToImageSpec, UpscaleSpec
from farm.spec.modes import pixel_steps
from tests.factories import Scene, a_checkpoint, a_request
from tests.fakes import MemoryStore


def preview(scene: Scene, **fields: object) -> submit.Preview:
    a_checkpoint(scene.database)
    return submit.preview(Desk(scene.database, MemoryStore(), scene.settings, "local"), a_request(**fields))


def test_images_and_kinds_of_batch_are_counted_and_nothing_is_stored(scene: Scene) -> None:
    a_checkpoint(scene.database)
    before = scene.contents()
    axes = [{"field": "num_inference_steps", "values": [4, 5]}, {"field": "guidance_scale", "values": [3, 5, 7]}]
    found = preview(scene, axes=axes, images_per_prompt=2)
    assert (found.images, found.batches) == (12, 2)
    assert scene.contents() == before


def test_a_farm_that_has_rendered_nothing_gives_no_estimate(scene: Scene) -> None:
    assert preview(scene).seconds is None


def test_the_estimate_follows_from_the_time_of_similar_images(scene: Scene) -> None:
    scene.submit(width=64, height=64, num_inference_steps=10)
    worker_id = scene.worker()
    for lease in scene.claim(worker_id):
        scene.publish(lease)
    alike = preview(scene, width=64, height=64, num_inference_steps=10, images_per_prompt=6).seconds
    larger = preview(scene, width=128, height=128, num_inference_steps=20, images_per_prompt=6).seconds
    assert alike == pytest.approx(6 * 0.5)
    assert larger == pytest.approx(6 * 0.5 * 8)


def test_the_work_is_shared_by_the_workers(scene: Scene) -> None:
    scene.submit()
    scene.publish(scene.claim(scene.worker())[0])
    alone = preview(scene).seconds
    scene.worker(device="cuda:1")
    together = preview(scene).seconds
    assert alone is not None
    assert together == pytest.approx(alone / 2)


def test_a_preview_refuses_what_a_submit_would_refuse(scene: Scene) -> None:
    with pytest.raises(InvalidRequest):
        preview(scene, checkpoint="nobody")


def test_warnings_are_shown_and_kept_with_the_job(scene: Scene) -> None:
    prompt = "a | b"
    [_, warning] = preview(scene, prompts=[prompt]).warnings
    job_id = scene.submit(prompts=[prompt])
    assert scene.job(job_id).warnings == [warning]


def test_each_mode_counts_what_it_denoises() -> None:
    shared = {"width": 128, "height": 64, "num_inference_steps": 10, "checkpoint": "demo", "seed": 1}
    picture = {**shared, "image": "1" * 64}
    once = 128 * 64 * 10
    cases = {
        once: TextToImageSpec(**shared, prompt="a"),
        once * 0.5: ImageToImageSpec(**picture, prompt="a", strength=0.5),
        0: UpscaleSpec(**picture),
        once * 0.5 * 4: UpscaleSpec(**picture, upscaler="SD upscale", strength=0.5, tile=64, overlap=32),
    }
    assert [pixel_steps(spec) for spec in cases.values()] == pytest.approx(list(cases))


def test_images_that_take_no_steps_do_not_enter_the_estimate(scene: Scene) -> None:
    scene.submit(width=64, height=64, num_inference_steps=10)
    scene.publish(scene.claim(scene.worker())[0])
    before = preview(scene).seconds
    with scene.database.begin() as session:
        spec = UpscaleSpec(checkpoint="demo", seed=1, image="1" * 64, width=2048, height=2048)
        session.execute(update(Task).values(spec=spec.model_dump(mode="json")))
    assert before is not None
    assert preview(scene).seconds is None
