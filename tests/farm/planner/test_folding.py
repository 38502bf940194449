"""What claims and publishes appended is folded: owners are charged, speeds are learned, starts are noted."""

import pytest
import structlog.testing

from farm.planner import folding as folding_module
from farm.planner.folding import Folding
from farm.planner.measuring.learn import Learned
from tests.factories import Scene


def test_an_owner_is_charged_from_the_claim_on(scene: Scene) -> None:
    scene.submit(images_per_prompt=3)
    scene.execute("UPDATE groups SET seconds = 2")
    owner = scene.scalar("SELECT id FROM users WHERE name = 'local'")
    scene.claim(scene.worker())
    folding = Folding(scene.database)
    assert folding.fold().charges == {("default", owner, None): pytest.approx(6.0)}
    assert folding.fold().charges == {}


def test_what_was_published_settles_the_charge_and_is_learned_from(scene: Scene) -> None:
    scene.submit(images_per_prompt=2, width=64, height=64, num_inference_steps=10)
    scene.execute("UPDATE groups SET seconds = 2")
    for lease in scene.claim(scene.worker()):
        scene.publish(lease)
    folded = Folding(scene.database).fold()
    learned = Learned()
    learned.observe(folded.samples, now=0)
    assert sum(folded.charges.values()) == pytest.approx(2 * 0.5)
    assert learned.speeds().batches("sd15", 64 * 64, "test device") == {2: pytest.approx(0.5 / 2 / 10)}


@pytest.mark.parametrize(
    ("change", "is_plain"),
    [
        ("UPDATE jobs SET mode = 'txt2img'", True),
        ("UPDATE jobs SET mode = 'img2img'", False),
        ("UPDATE groups SET pixel_steps = 20.5 * pixels", False),
    ],
)
def test_a_plain_call_renders_from_text_alone_in_one_pass(scene: Scene, change: str, is_plain: bool) -> None:
    scene.submit()
    scene.execute(change)
    for lease in scene.claim(scene.worker()):
        scene.publish(lease)
    assert [sample.is_plain for sample in Folding(scene.database).fold().samples] == [is_plain]


def test_what_was_rendered_by_a_worker_that_is_forgotten_is_not_learned(scene: Scene) -> None:
    scene.submit()
    worker_id = scene.worker()
    for lease in scene.claim(worker_id):
        scene.publish(lease)
    scene.execute("UPDATE deltas SET worker_id = 999 WHERE worker_id = :id", id=worker_id)
    assert Folding(scene.database).fold().samples == []


def test_the_start_of_a_job_is_noted_with_its_first_claim(scene: Scene) -> None:
    job_id = scene.submit()
    scene.execute("INSERT INTO estimates (job_id) VALUES (:id)", id=job_id)
    scene.claim(scene.worker())
    Folding(scene.database).fold()
    assert scene.scalar("SELECT started_at IS NOT NULL FROM estimates")


def test_one_line_that_cannot_be_folded_holds_up_no_other(scene: Scene) -> None:
    bad, good = scene.submit(), scene.submit(images_per_prompt=3)
    scene.execute(
        "INSERT INTO deltas (job_id, batch_key, running) "
        "SELECT job_id, batch_key, -5 FROM counters WHERE job_id = :id",
        id=bad,
    )
    scene.priority(good, 90)
    scene.claim(scene.worker(), limit=2)
    folding = Folding(scene.database)
    with structlog.testing.capture_logs() as logs:
        assert [folding.fold().lines, folding.fold().lines] == [1, 0]
    assert [entry["job_id"] for entry in logs if entry["log_level"] == "error"] == [bad]
    assert scene.column("SELECT job_id FROM deltas") == [bad]


def test_a_line_that_was_set_aside_is_folded_once_it_can_be(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.submit()
    scene.execute("INSERT INTO deltas (job_id, batch_key, running) SELECT job_id, batch_key, -1 FROM counters")
    monkeypatch.setattr(folding_module, "_ASIDE_SECONDS", 0.0)
    folding = Folding(scene.database)
    assert folding.fold().lines == 0
    scene.execute("UPDATE counters SET running = 1")
    assert folding.fold().lines == 1


def test_a_charge_is_stored_with_the_fold_itself(scene: Scene) -> None:
    """Whatever becomes of who folded: an answer that is lost loses no charge."""
    scene.submit(images_per_prompt=3)
    scene.execute("UPDATE groups SET seconds = 2")
    scene.claim(scene.worker())
    Folding(scene.database).fold()
    assert scene.column("SELECT lag FROM shares") == [-6.0]
    assert scene.column("SELECT used_seconds FROM shares") == [6.0]
