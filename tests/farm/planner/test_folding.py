"""What claims and publishes appended is folded: owners are charged, speeds are learned, starts are noted."""

import pytest

from farm.planner.folding import fold
from farm.planner.measuring.learn import Learned
from tests.factories import Scene


def test_an_owner_is_charged_from_the_claim_on(scene: Scene) -> None:
    scene.submit(images_per_prompt=3)
    scene.execute("UPDATE groups SET seconds = 2")
    owner = scene.scalar("SELECT id FROM users WHERE name = 'local'")
    scene.claim(scene.worker())
    with scene.database.begin() as session:
        assert fold(session).charges == {("default", owner, None): pytest.approx(6.0)}
        assert fold(session).charges == {}


def test_what_was_published_settles_the_charge_and_is_learned_from(scene: Scene) -> None:
    scene.submit(images_per_prompt=2, width=64, height=64, num_inference_steps=10)
    scene.execute("UPDATE groups SET seconds = 2")
    for lease in scene.claim(scene.worker()):
        scene.publish(lease)
    with scene.database.begin() as session:
        folded = fold(session)
    learned = Learned()
    learned.observe(folded.samples)
    assert sum(folded.charges.values()) == pytest.approx(2 * 0.5)
    assert learned.speeds().batches("sd15", 64 * 64, "test device") == {2: pytest.approx(0.5 / 2 / 10)}


def test_what_was_rendered_by_a_worker_that_is_forgotten_is_not_learned(scene: Scene) -> None:
    scene.submit()
    worker_id = scene.worker()
    for lease in scene.claim(worker_id):
        scene.publish(lease)
    scene.execute("UPDATE deltas SET worker_id = 999 WHERE worker_id = :id", id=worker_id)
    with scene.database.begin() as session:
        assert fold(session).samples == []


def test_the_start_of_a_job_is_noted_with_its_first_claim(scene: Scene) -> None:
    job_id = scene.submit()
    scene.execute("INSERT INTO estimates (job_id) VALUES (:id)", id=job_id)
    scene.claim(scene.worker())
    with scene.database.begin() as session:
        fold(session)
    assert scene.scalar("SELECT started_at IS NOT NULL FROM estimates")
