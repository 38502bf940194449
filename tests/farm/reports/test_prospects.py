"""When a job would start and end that is not there yet."""

import pytest

from farm.intake import estimates, submit
from farm.pictures.uploads import Desk
from farm.reports.expected import Expected
from farm.reports.prospects import Standing, Work, expect
from tests.factories import Scene, a_checkpoint, a_request
from tests.fakes import MemoryStore
from tests.farm.planner.farms import HandMade


def standing(**known: float) -> Standing:
    usual = {
        "devices": 4.0,
        "demand": 0.0,
        "idle": 4.0,
        "weight": 1.0,
        "rate": 0.0,
        "others": 0.0,
        "ahead_seconds": 0.0,
        "ahead_interactive": 0.0,
    }
    return Standing(**{**usual, **known}, is_saturated=known.get("demand", 0) >= 4)  # type: ignore[arg-type]


WORK = Work(images=80, seconds=80.0, load_low=0.0, load_high=10.0)


def test_on_an_idle_farm_a_job_starts_once_its_checkpoint_is_loaded() -> None:
    assert expect(standing(), WORK) == Expected(0.0, 10.0, 15.0, 40.0)


def test_a_newcomer_has_its_fair_share_of_a_full_farm() -> None:
    found = expect(standing(demand=9, idle=0, others=3.0), WORK)
    assert found == Expected(0.0, 18.0, 60.0, 138.0)


def test_twice_the_weight_is_twice_the_share() -> None:
    assert standing(demand=9, weight=2.0, others=2.0).share == 2.0


def test_who_has_much_queued_already_waits_for_that_first() -> None:
    found = expect(standing(demand=9, idle=0, rate=2.0, ahead_interactive=16, ahead_seconds=400), WORK)
    assert found.starts_low == 150.0
    assert found.ends_low == 180.0


def test_of_what_was_never_rendered_the_end_is_unknown() -> None:
    assert expect(standing(), Work(8, None, 5.0, 15.0)) == Expected(5.0, 15.0, None, None)


def plan_default(scene: Scene) -> None:
    scene.execute(
        "INSERT INTO plans (pool, figures) VALUES ('default', "
        '\'{"devices": 2, "idle": 2, "demand": 0, "is_saturated": false}\')'
    )


def preview(scene: Scene, **fields: object) -> submit.Preview:
    return submit.preview(Desk(scene.database, MemoryStore(), scene.settings, "local"), a_request(**fields))


def learn(scene: Scene) -> None:
    """Of 64 x 64 pixels a step takes 0.1 s."""
    scene.execute(
        "INSERT INTO speeds (family, pixels, device_class, batch, seconds_per_step, samples) "
        "VALUES ('sd15', 4096, 'test device', 4, 0.1, 9)"
    )


def test_nobody_says_when_without_a_plan(scene: Scene) -> None:
    a_checkpoint(scene.database)
    assert preview(scene).expected is None


def test_a_small_job_does_not_wait_for_the_bulk_work_of_its_owner(scene: Scene) -> None:
    a_checkpoint(scene.database)
    scene.worker()
    scene.execute(
        "INSERT INTO plans (pool, figures) VALUES ('default', "
        '\'{"devices": 1, "idle": 0, "demand": 9, "is_saturated": true}\')'
    )
    learn(scene)
    small = {"width": 64, "height": 64, "num_inference_steps": 10}
    scene.submit(**small, images_per_prompt=400)
    before = preview(scene, **small).expected
    for _ in range(4):
        scene.submit(**small, images_per_prompt=4)
    after = preview(scene, **small).expected
    assert before is not None
    assert after is not None
    assert (before.starts_high or 0) < 30
    assert (before.ends_high or 0) < 40
    assert (after.starts_low or 0) > 100


def test_a_dry_run_says_when_by_the_plan_and_what_was_measured(scene: Scene) -> None:
    a_checkpoint(scene.database)
    scene.worker()
    plan_default(scene)
    learn(scene)
    found = preview(scene, width=64, height=64, num_inference_steps=10, images_per_prompt=6).expected
    assert found is not None
    assert (found.starts_low, found.starts_high) == (7.5, 15.0)
    assert (found.ends_low, found.ends_high) == (pytest.approx(7.5 + 0.75 * 3), pytest.approx(15 + 1.5 * 3))


def test_the_speeds_of_the_workers_that_are_there_are_averaged(scene: Scene) -> None:
    a_checkpoint(scene.database)
    for device in ("0", "1", "2"):
        scene.worker(device)
    scene.execute("UPDATE workers SET device_class = 'fast' WHERE device <> '0'")
    learn(scene)
    scene.execute(
        "INSERT INTO speeds (family, pixels, device_class, batch, seconds_per_step, samples) "
        "VALUES ('sd15', 4096, 'fast', 4, 0.04, 9), ('sd15', 4096, 'gone', 4, 9, 9)"
    )
    with scene.database.begin() as session:
        rows = session.execute(estimates._SPEEDS, {"families": ["sd15"], "pool": "default"}).all()
    assert [(row.family, row.pixels, row.seconds) for row in rows] == [("sd15", 4096, pytest.approx(0.06))]


def test_a_job_keeps_what_was_expected_of_it(scene: Scene) -> None:
    a_checkpoint(scene.database)
    scene.worker()
    plan_default(scene)
    learn(scene)
    job_id = scene.submit(width=64, height=64, num_inference_steps=10)
    kept = "extract(epoch FROM starts_high - made_at)::float8 + extract(epoch FROM ends_high - made_at)::float8"
    assert scene.scalar(f"SELECT {kept} FROM estimates WHERE job_id = :id", id=job_id) == pytest.approx(31.5)


def test_of_a_job_that_is_to_start_later_nothing_is_expected(scene: Scene) -> None:
    a_checkpoint(scene.database)
    plan_default(scene)
    job_id = scene.submit(not_before="2999-01-01T00:00:00Z")
    assert scene.scalar("SELECT count(*) FROM estimates WHERE job_id = :id", id=job_id) == 0


def test_what_is_resident_on_a_worker_needs_no_load(scene: Scene) -> None:
    checkpoint = HandMade(scene).checkpoint()
    HandMade(scene).worker(residents=[checkpoint])
    plan_default(scene)
    found = preview(scene).expected
    assert found is not None
    assert found.starts_low == 0.0


@pytest.mark.parametrize(
    ("figures", "is_told"), [("{}", False), ('{"devices": 0}', False), ('{"devices": 2}', True)]
)
def test_a_plan_with_few_figures_refuses_no_job(scene: Scene, figures: str, is_told: bool) -> None:
    scene.execute("INSERT INTO plans (pool, figures) VALUES ('default', CAST(:figures AS jsonb))", figures=figures)
    job_id = scene.submit()
    assert scene.scalar("SELECT count(*) FROM estimates WHERE job_id = :id", id=job_id) == is_told
