"""Batches are filled up to the few sizes that pipeline calls have."""

from hypothesis import given
from hypothesis import strategies as st

from farm.config import BATCH_SIZES
from tests.factories import a_spec
from workers.batches import bucket_of, pad

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
