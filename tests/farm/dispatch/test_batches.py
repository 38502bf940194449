"""How many images are rendered at once."""

from dataclasses import replace

from farm.dispatch.batches import Batches, efficient_batch
from farm.dispatch.measured import Loads, Speed, Speeds
from farm.dispatch.policy import Policy
from tests.farm.dispatch.snapshots import LOADS, SPEEDS, device, group

DEVICE = replace(device(1), max_batch=16)


def measured(*seconds: tuple[int, float]) -> Speeds:
    return Speeds.of(Speed("sd15", 64, "gpu", batch, each) for batch, each in seconds)


def batch(speeds: Speeds, **changes: int) -> int:
    return efficient_batch(group(1, **changes), DEVICE, speeds, Policy())


def test_the_smallest_batch_that_is_about_as_fast_is_efficient() -> None:
    assert batch(measured((1, 2.0), (4, 1.01), (8, 1.0), (16, 1.0))) == 4


def test_a_batch_that_was_not_tried_yet_is_tried() -> None:
    assert batch(measured((1, 2.0), (4, 1.0))) == 16


def test_a_batch_keeps_to_the_groups_limit() -> None:
    assert batch(Speeds(), batch_limit=3) == 3


def test_a_batch_keeps_to_its_pixels() -> None:
    assert efficient_batch(group(1), DEVICE, Speeds(), replace(Policy(), batch_pixels=128)) == 2


def test_a_batch_is_never_empty() -> None:
    assert efficient_batch(group(1), DEVICE, Speeds(), replace(Policy(), batch_pixels=1)) == 1


def test_seconds_an_image_are_its_steps_at_the_measured_speed() -> None:
    batches = Batches(SPEEDS, Policy())
    assert batches.seconds_an_image(replace(group(1), pixel_steps=64 * 20.0), "gpu") == 20


def test_a_load_is_what_was_measured_or_goes_by_its_bytes() -> None:
    assert LOADS.seconds(1, "gpu", is_cached=False) == 15
    assert Loads.of([], {7: 2 * 10**9}).seconds(7, "gpu", is_cached=False) == 4
