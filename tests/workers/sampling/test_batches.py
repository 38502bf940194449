"""Batches are filled up to the few sizes that pipeline calls have."""

from hypothesis import given
from hypothesis import strategies as st

from farm.config import BATCH_SIZES
from tests.factories import a_spec
from workers.sampling.batches import bucket_of, group_alike, pad

COUNTS = st.integers(1, BATCH_SIZES[-1])


@given(COUNTS)
def test_the_bucket_is_the_smallest_that_holds_the_batch(images: int) -> None:
    bucket = bucket_of(images)
    assert bucket in BATCH_SIZES
    assert [size for size in BATCH_SIZES if images <= size < bucket] == []


@given(COUNTS)
def test_a_batch_begins_with_its_own_specs_and_is_filled_with_the_last(images: int) -> None:
    specs = [a_spec(seed=seed) for seed in range(images)]
    padded = pad(specs)
    assert padded[:images] == specs
    assert padded[images:] == [specs[-1]] * (bucket_of(images) - images)


@given(st.lists(st.integers(0, 3), max_size=16), st.integers(1, 16))
def test_groups_hold_every_place_once_and_only_images_of_one_shape(shapes: list[int], most: int) -> None:
    groups = group_alike(shapes, lambda shape: shape, most)
    assert sorted(place for group in groups for place in group) == list(range(len(shapes)))
    assert all(len(group) <= most and len({shapes[place] for place in group}) == 1 for group in groups)
