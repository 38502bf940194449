"""The longest wait, as stated."""

from farm.dispatch.bounds import longest_wait, unseated
from farm.dispatch.policy import Policy


def bound(**changes: int) -> float:
    counts = {"checkpoints": 8, "devices": 8, "accounts": 2} | changes
    return longest_wait(Policy(), load_seconds=15, batch_seconds=8, **counts)


def test_the_bound_of_a_small_farm() -> None:
    assert round(bound()) == 900 + 250 + 98 + 300


def test_the_bound_grows_with_what_waits_and_shrinks_with_devices() -> None:
    assert bound(checkpoints=80) > bound(checkpoints=16) > bound() >= bound(devices=80)
    assert bound(accounts=20) > bound()


def test_a_checkpoint_waits_two_minutes_at_least_before_it_is_forced() -> None:
    assert unseated(Policy(), 0.0, 4, 64) == 120
    assert unseated(Policy(), 250.0, 8, 4) == 1000
