"""What was measured is kept as means that one odd figure cannot spoil."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from farm.dispatch.batches import efficient_batch
from farm.dispatch.policy import Policy
from farm.dispatch.snapshot import Device, Group
from farm.planner.measuring import learn as learn_module
from farm.planner.measuring import paces
from farm.planner.measuring.learn import Learned, Sample
from farm.planner.measuring.means import Mean
from tests.factories import Scene
from tests.farm.planner.farms import HandMade

SIZE = 512 * 512


def a_sample(
    seconds: float,
    batch: int = 4,
    *,
    pixels: int = SIZE,
    steps: float = 20.0,
    load: float | None = None,
    is_plain: bool = True,
) -> Sample:
    return Sample("sd15", 1, pixels, steps, "H200", batch, seconds, load, is_plain)


def learn(*samples: Sample, at: float = 0.0, by: Learned | None = None) -> Learned:
    learned = by or Learned()
    learned.observe(samples, at)
    return learned


def steps_of(learned: Learned) -> dict[int, float]:
    """The seconds of a step and image by batch."""
    return learned.speeds().batches("sd15", SIZE, "H200")


def mean_of(*figures: float) -> Mean:
    mean = Mean(figures[0])
    for figure in figures[1:]:
        mean = mean.add(figure)
    return mean


def test_a_mean_of_few_is_their_mean() -> None:
    assert mean_of(1.0, 2.0, 3.0) == Mean(pytest.approx(2.0), 3)


def test_a_slow_first_render_is_forgotten() -> None:
    assert mean_of(30.0, 1.0, 1.2).value == pytest.approx(1.1)


def test_an_odd_figure_hardly_moves_a_mean_of_many() -> None:
    assert mean_of(*[1.0] * 20, 500.0).value < 1.15


def test_a_lasting_change_is_followed() -> None:
    assert mean_of(*[1.0] * 50, *[2.0] * 60).value == pytest.approx(2.0, rel=0.1)


@given(st.lists(st.floats(1e-3, 1e4), min_size=1, max_size=60))
def test_a_mean_lies_within_what_it_has_seen(figures: list[float]) -> None:
    mean = mean_of(*figures)
    assert min(figures) * 0.999 <= mean.value <= max(figures) * 1.001


def test_a_step_of_an_image_is_learned_by_family_size_device_and_batch() -> None:
    assert steps_of(learn(a_sample(8.0), a_sample(3.0, batch=1))) == pytest.approx({4: 0.1, 1: 0.15})


def test_what_says_nothing_is_not_learned() -> None:
    learned = learn(
        Sample("sd15", 1, None, 20.0, "H200", 4, 8.0),
        Sample("sd15", 1, SIZE, 0.0, "H200", 4, 8.0),
        Sample("sd15", 1, SIZE, 20.0, "H200", 4, None),
    )
    assert not learned.speeds().by_key


def test_a_size_that_was_not_measured_follows_from_others_of_its_family() -> None:
    learned = learn(a_sample(8.0))
    groups = [Group(1, 1, "sd15", 4 * SIZE, pixel_steps=1.0), Group(2, 1, "sd15", SIZE, pixel_steps=1.0)]
    speeds = learned.speeds(groups, ["H200", "T4"])
    assert speeds.batches("sd15", 4 * SIZE, "H200") == pytest.approx({1: 0.4})
    assert speeds.batches("sd15", SIZE, "T4") == pytest.approx({1: 0.1})
    assert speeds.batches("sd15", SIZE, "H200") == pytest.approx({4: 0.1})


def test_loads_are_learned_by_checkpoint_and_device() -> None:
    learned = learn(a_sample(8.0, load=12.0), a_sample(8.0), a_sample(8.0, load=0.002))
    assert learned.loads({}).seconds(1, "H200", is_cached=True) == 12.0


def test_what_was_learned_is_stored_once_and_found_again(scene: Scene) -> None:
    checkpoint = HandMade(scene).checkpoint()
    learned = learn(Sample("sd15", checkpoint, SIZE, 20.0, "H200", 4, 8.0, 12.0))
    with scene.database.begin() as session:
        assert [learned.store(session), learned.store(session)] == [2, 0]
        found = Learned.load(session, now=0)
        assert found.store(session) == 0
    assert found.speeds().by_key == learned.speeds().by_key
    assert found.loads({}).by_key == learned.loads({}).by_key


def test_calls_of_few_steps_say_nothing_where_others_were_seen() -> None:
    learned = learn(a_sample(16.0, batch=8))
    learn(*[a_sample(8.0, batch=8, steps=1.0)] * 50, by=learned)
    assert steps_of(learned) == pytest.approx({8: 0.1})


def test_calls_of_several_passes_or_over_pictures_say_nothing_where_plain_ones_were_seen() -> None:
    learned = learn(a_sample(16.0, batch=8), *[a_sample(60.0, batch=8, is_plain=False)] * 50)
    assert steps_of(learned) == pytest.approx({8: 0.1})


def test_odd_calls_are_learned_from_until_a_plain_one_is_seen() -> None:
    learned = learn(*[a_sample(60.0, batch=8, is_plain=False)] * 20)
    assert steps_of(learned) == pytest.approx({8: 0.375})
    assert steps_of(learn(a_sample(16.0, batch=8), by=learned)) == pytest.approx({8: 0.1})


def test_few_steps_are_enough_where_that_is_usual() -> None:
    usual, odd = a_sample(3.2, batch=8, steps=4.0), a_sample(8.0, batch=8, steps=1.0)
    assert steps_of(learn(*[usual] * 20, *[odd] * 10)) == pytest.approx({8: 0.1})


def test_a_batch_that_was_judged_slow_is_tried_again_after_a_while() -> None:
    learned = learn(a_sample(3.0, batch=1), a_sample(8.0), *[a_sample(60.0, batch=8)] * 5)
    wanted, device = Group(1, 1, "sd15", SIZE), Device(1, "it", "host", "H200", max_batch=8)
    assert efficient_batch(wanted, device, learn(a_sample(8.0), at=3000.0, by=learned).speeds(), Policy()) == 4
    assert efficient_batch(wanted, device, learn(a_sample(8.0), at=4000.0, by=learned).speeds(), Policy()) == 8
    learn(a_sample(8.0, batch=8), at=4010.0, by=learned)
    assert steps_of(learned) == pytest.approx({4: 0.1, 8: 0.05})


def test_the_fastest_batch_is_kept_however_long_nobody_rendered_it() -> None:
    learned = learn(a_sample(8.0), a_sample(3.0, batch=1))
    assert steps_of(learn(a_sample(3.0, batch=1), at=1e6, by=learned)) == pytest.approx({4: 0.1, 1: 0.15})


def test_sizes_that_nobody_renders_any_more_make_room_for_new_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paces, "_MOST_SIZES", 3)
    learned = learn(*(a_sample(8.0, pixels=pixels) for pixels in (1, 2, 3, 1, 4)))
    assert {key[1] for key in learned.speeds().by_key} == {3, 1, 4}


def test_loads_that_nobody_needs_any_more_make_room_for_new_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learn_module, "MOST_KEPT", 3)
    learned = learn(*(replace(a_sample(8.0, load=12.0), checkpoint=number) for number in (1, 2, 3, 1, 4)))
    assert {checkpoint for checkpoint, _, _ in learned.loads({}).by_key} == {3, 1, 4}


def test_what_is_in_use_is_stored_now_and_then_so_that_it_is_not_pruned(scene: Scene) -> None:
    learned = learn(a_sample(8.0), at=0.0)
    with scene.database.begin() as session:
        learned.store(session)
        learn(a_sample(8.0), at=3000.0, by=learned)
        assert learned.store(session) == 0
        learn(a_sample(8.0), at=4000.0, by=learned)
        assert learned.store(session) == 1


def test_a_leader_that_loads_forgets_last_what_was_stored_last(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    with scene.database.begin() as session:
        learn(a_sample(8.0, pixels=1)).store(session)
        session.execute(text("UPDATE speeds SET updated_at = now() - interval '1 day'"))
        learn(a_sample(8.0, pixels=2)).store(session)
        found = Learned.load(session, now=0)
    monkeypatch.setattr(paces, "_MOST_SIZES", 2)
    assert {key[1] for key in learn(a_sample(8.0, pixels=3), by=found).speeds().by_key} == {2, 3}
