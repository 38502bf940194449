"""What was measured is kept as means that one odd figure cannot spoil."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.dispatch.snapshot import Group
from farm.planner.measuring.learn import Learned, Sample
from farm.planner.measuring.means import Mean
from tests.factories import Scene
from tests.farm.planner.farms import HandMade

SIZE = 512 * 512


def a_sample(seconds: float, batch: int = 4, *, pixels: int = SIZE, load: float | None = None) -> Sample:
    return Sample("sd15", 1, pixels, 20.0, "H200", batch, seconds, load)


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
    learned = Learned()
    learned.observe([a_sample(8.0), a_sample(3.0, batch=1)])
    assert learned.speeds().batches("sd15", SIZE, "H200") == pytest.approx({4: 0.1, 1: 0.15})


def test_what_says_nothing_is_not_learned() -> None:
    learned = Learned()
    learned.observe(
        [
            Sample("sd15", 1, None, 20.0, "H200", 4, 8.0),
            Sample("sd15", 1, SIZE, 0.0, "H200", 4, 8.0),
            Sample("sd15", 1, SIZE, 20.0, "H200", 4, None),
        ]
    )
    assert not learned.speeds().by_key


def test_a_size_that_was_not_measured_follows_from_others_of_its_family() -> None:
    learned = Learned()
    learned.observe([a_sample(8.0)])
    groups = [Group(1, 1, "sd15", 4 * SIZE, pixel_steps=1.0), Group(2, 1, "sd15", SIZE, pixel_steps=1.0)]
    speeds = learned.speeds(groups, ["H200", "T4"])
    assert speeds.batches("sd15", 4 * SIZE, "H200") == pytest.approx({1: 0.4})
    assert speeds.batches("sd15", SIZE, "T4") == pytest.approx({1: 0.1})
    assert speeds.batches("sd15", SIZE, "H200") == pytest.approx({4: 0.1})


def test_loads_are_learned_by_checkpoint_and_device() -> None:
    learned = Learned()
    learned.observe([a_sample(8.0, load=12.0), a_sample(8.0), a_sample(8.0, load=0.002)])
    assert learned.loads({}).seconds(1, "H200", is_cached=True) == 12.0


def test_what_was_learned_is_stored_once_and_found_again(scene: Scene) -> None:
    checkpoint = HandMade(scene).checkpoint()
    learned = Learned()
    learned.observe([Sample("sd15", checkpoint, SIZE, 20.0, "H200", 4, 8.0, 12.0)])
    with scene.database.begin() as session:
        assert [learned.store(session), learned.store(session)] == [2, 0]
        found = Learned.load(session)
        assert found.store(session) == 0
    assert found.speeds().by_key == learned.speeds().by_key
    assert found.loads({}).by_key == learned.loads({}).by_key
