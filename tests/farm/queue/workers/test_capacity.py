"""What does not fit into one device's memory is left to those that may hold it."""

import pytest

from farm.db.tables.workers import MemoryLimit
from farm.errors import Conflict
from farm.queue.workers import capacity
from tests.factories import Scene, a_checkpoint

LARGE = {"width": 1024, "height": 1024}


def limits(scene: Scene) -> list[tuple[str, str, int]]:
    with scene.database.begin() as session:
        return [
            (limit.worker_name, limit.family, limit.pixels)
            for limit in session.query(MemoryLimit).order_by("worker_name")
        ]


def test_an_image_that_does_not_fit_is_rendered_elsewhere_without_using_a_try(scene: Scene) -> None:
    """One small device used to take all three tries, while a large one stood by."""
    job_id = scene.submit(**LARGE)
    small, large = scene.worker("0"), scene.worker("1")
    assert scene.fail_for_memory(*scene.claim(small))
    [task] = scene.tasks(job_id)
    assert task.attempt_limit - task.attempt == scene.settings.max_attempts
    assert scene.claim(small) == ()
    assert scene.publish(*scene.claim(large))


def test_many_small_devices_do_not_use_up_the_tries_of_an_image_that_fits_a_large_one(scene: Scene) -> None:
    job_id = scene.submit(**LARGE)
    small = [scene.worker(f"small-{number}") for number in range(5)]
    large = scene.worker("large")
    for worker_id in small:
        scene.fail_for_memory(*scene.claim(worker_id))
    scene.publish(*scene.claim(large))
    assert scene.job(job_id).status == "succeeded"


def test_a_size_that_did_not_fit_is_not_tried_there_again_for_any_job(scene: Scene) -> None:
    scene.submit(**LARGE)
    small, _ = scene.worker("0"), scene.worker("1")
    scene.fail_for_memory(*scene.claim(small))
    scene.submit(width=1024, height=1536, images_per_prompt=3)
    assert scene.claim(small) == ()


def test_a_smaller_size_is_rendered_as_before(scene: Scene) -> None:
    scene.submit(**LARGE)
    small, _ = scene.worker("0"), scene.worker("1")
    scene.fail_for_memory(*scene.claim(small))
    scene.submit(width=512, height=512)
    assert len(scene.claim(small)) == 1


def test_another_family_of_that_size_is_rendered_as_before(scene: Scene) -> None:
    scene.submit(**LARGE)
    small, _ = scene.worker("0"), scene.worker("1")
    scene.fail_for_memory(*scene.claim(small))
    a_checkpoint(scene.database, "other", sha256="c" * 64)
    scene.scalar("UPDATE checkpoints SET family = 'sd2' WHERE name = 'other' RETURNING id")
    scene.submit(checkpoint="other", **LARGE)
    assert len(scene.claim(small)) == 1


def test_an_image_that_fits_no_device_fails_after_its_tries(scene: Scene) -> None:
    job_id = scene.submit(**LARGE)
    worker_id = scene.worker()
    tried = [scene.fail_for_memory(*scene.claim(worker_id)) for _ in range(scene.settings.max_attempts)]
    assert tried == [True, True, False]
    assert scene.statuses(job_id) == ["failed"]


def test_an_image_of_unrecorded_size_that_fits_no_device_fails(scene: Scene) -> None:
    """The release before did not: nothing can be noted of it, and each device tries it once for nothing."""
    job_id = scene.submit(**LARGE)
    scene.execute("UPDATE counters SET pixels = NULL")
    workers = [scene.worker(str(number)) for number in range(2)]
    for _ in range(4):
        for worker_id in workers:
            for lease in scene.claim(worker_id):
                scene.fail_for_memory(lease)
    assert scene.statuses(job_id) == ["failed"]


def test_a_job_that_fits_no_device_is_tried_by_every_device(scene: Scene) -> None:
    """All are known to be too small, so all may try."""
    job_id = scene.submit(**LARGE)
    workers = [scene.worker(str(number)) for number in range(2)]
    for worker_id in (*workers, *workers, *workers):
        for lease in scene.claim(worker_id):
            scene.fail_for_memory(lease)
    assert scene.statuses(job_id) == ["failed"]


def test_two_devices_that_each_lack_something_do_not_leave_a_job_to_each_other(scene: Scene) -> None:
    """One is too small, the other is kept from the checkpoint: both may take it."""
    scene.submit(**LARGE)
    small, torn = scene.worker("0"), scene.worker("1")
    scene.fail_for_memory(*scene.claim(small))
    scene.avoid("host/1", a_checkpoint(scene.database))
    assert scene.claim(small) or scene.claim(torn)


def test_a_lack_of_memory_excludes_neither_the_worker_nor_its_checkpoint(scene: Scene) -> None:
    small, large = scene.worker("0"), scene.worker("1")
    for side in (1536, 1280, 1024, 896, 768, 640, 512):
        scene.submit(width=side, height=side)
        scene.fail_for_memory(*scene.claim(small))
        scene.publish(*scene.claim(large))
    assert scene.excluded() == []


def test_the_smallest_size_that_did_not_fit_counts(scene: Scene) -> None:
    small, _ = scene.worker("0"), scene.worker("1")
    for side in (1024, 512):
        scene.submit(width=side, height=side)
        scene.fail_for_memory(*scene.claim(small))
    assert limits(scene) == [("host/0", "sd15", 512 * 512)]


def test_a_size_is_tried_again_after_an_hour(scene: Scene) -> None:
    scene.submit(**LARGE)
    small, _ = scene.worker("0"), scene.worker("1")
    scene.fail_for_memory(*scene.claim(small))
    scene.scalar("UPDATE memory_limits SET created_at = now() - interval '61 minutes' RETURNING 1")
    scene.submit(**LARGE)
    assert len(scene.claim(small)) == 1
    with scene.database.begin() as session:
        assert capacity.fitness(session).limits == {}


def test_a_size_is_tried_again_once_the_worker_is_restored(scene: Scene) -> None:
    scene.submit(**LARGE)
    small, _ = scene.worker("0"), scene.worker("1")
    scene.fail_for_memory(*scene.claim(small))
    scene.restore("host/0")
    assert limits(scene) == []
    with pytest.raises(Conflict):
        scene.restore("host/0")


def test_a_prompt_of_several_parts_that_does_not_fit_says_nothing_of_its_size(scene: Scene) -> None:
    """Each part is a row more through the UNet."""
    scene.submit(prompts=["a fox AND a hen AND a barn"], width=256, height=256)
    small, large = scene.worker("0"), scene.worker("1")
    scene.fail_for_memory(*scene.claim(small))
    assert limits(scene) == []
    assert scene.claim(small) == ()
    assert scene.publish(*scene.claim(large))


@pytest.mark.parametrize("error", ["with a NUL\0", "half a character \ud800"], ids=["NUL", "surrogate"])
def test_an_allocator_message_of_any_characters_is_stored(scene: Scene, error: str) -> None:
    scene.submit()
    small, _ = scene.worker("0"), scene.worker("1")
    assert scene.fail_for_memory(*scene.claim(small), error)
    assert len(limits(scene)) == 1


def test_a_lost_lease_records_no_memory_limit(scene: Scene) -> None:
    scene.submit()
    [stale] = scene.lose(scene.worker())
    before = scene.contents()
    assert not scene.fail_for_memory(stale)
    assert scene.contents() == before


def test_the_second_pass_decides_what_memory_an_image_takes(scene: Scene) -> None:
    scene.submit(hires={"scale": 2})
    assert scene.scalar("SELECT pixels FROM counters") == 1024 * 1024
