"""Both farms render the same images, and the figures of a comparison are what they say."""

import shutil
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from tests.bench.contest import Outcome, carry_out, describe
from tests.bench.mix import Mix
from tests.bench.runs import Rendered, Run
from tests.bench.weights import write_checkpoints
from tests.farms import passable_folder

MIX = Mix(8, ("first", "second"), ("ada", "ben"), sides=(64, 128), steps=2, images_per_job=3, deterministic=True)


@pytest.fixture(scope="module")
def outcome() -> Iterator[Outcome]:
    """A small comparison: two owners, each with a checkpoint of their own; all is rendered alone."""
    folder = passable_folder()
    write_checkpoints(folder / "weights", MIX.checkpoints)
    yield carry_out(MIX, folder / "weights", folder / "runs")
    shutil.rmtree(folder)


def test_every_image_of_a_mix_is_rendered_by_both_farms(outcome: Outcome) -> None:
    assert len(outcome.farm.images) == len(outcome.plain.images) == MIX.images
    asked = [(wish.row["prompt"], wish.row["checkpoint"], wish.row["seed"]) for wish in MIX.wishes()]
    made = [tuple(image.spec[name] for name in ("prompt", "checkpoint", "seed")) for image in outcome.farm.images]
    assert made == asked


def test_the_same_spec_gives_the_same_image_on_both_farms(outcome: Outcome) -> None:
    assert outcome.differences == [0] * MIX.images


def test_images_of_a_mix_are_all_different(outcome: Outcome) -> None:
    assert len({image.pixels.tobytes() for image in outcome.plain.images}) == MIX.images


def test_both_farms_load_each_checkpoint_and_take_time_for_it(outcome: Outcome) -> None:
    for run in (outcome.farm, outcome.plain):
        assert len(run.loads) >= len(MIX.checkpoints)
        assert all(load > 0 for load in run.loads)


def a_run(seconds: float, shades: Sequence[int], bucket: int = 1) -> Run:
    images = [Rendered({}, np.full((2, 2, 3), shade, np.uint8), bucket) for shade in shades]
    return Run(seconds, [0.5], images)


def test_differences_are_counted_over_all_images_and_over_those_rendered_alone() -> None:
    alone, batched = a_run(1, [0, 255]), a_run(1, [9], bucket=4)
    farm = Run(2.0, [], [*alone.images, *batched.images])
    outcome = Outcome(MIX, farm, a_run(8.0, [0, 0, 10]))
    assert outcome.differences == [0, 255, 1]
    assert outcome.differences_alone == [0, 255]


def test_a_comparison_is_described_with_its_ratio() -> None:
    said = describe(Outcome(MIX, a_run(2.0, [1]), a_run(8.0, [1])))
    assert "4.0 times as fast" in said
    assert "1 images, of which 1 are equal in every pixel" in said


def test_a_mix_asks_for_the_same_images_each_time() -> None:
    assert MIX.wishes() == MIX.wishes()


def test_each_owner_of_a_mix_has_checkpoints_of_their_own() -> None:
    mix = Mix(200, ("a", "b", "c", "d"), ("one", "two"))
    pairs = {(wish.owner, wish.row["checkpoint"]) for wish in mix.wishes()}
    assert pairs == {("one", "a"), ("two", "b"), ("one", "c"), ("two", "d")}


def test_a_job_of_a_mix_is_one_owners_and_nobodys_images_are_left_out() -> None:
    mix = Mix(50, ("a", "b"), ("one", "two"), images_per_job=7)
    wishes = mix.wishes()
    jobs = list(mix.jobs(wishes))
    assert sorted(number for job in jobs for number in job) == list(range(50))
    assert all(len({wishes[number].owner for number in job}) == 1 and len(job) <= 7 for job in jobs)


def test_images_of_a_checkpoint_may_come_several_in_a_row() -> None:
    names = [wish.row["checkpoint"] for wish in Mix(12, ("a", "b", "c"), ("one",), in_a_row=3).wishes()]
    assert all(len(set(names[start : start + 3])) == 1 for start in range(0, 12, 3))
