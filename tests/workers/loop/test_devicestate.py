"""What a worker reports of its device."""

from pathlib import Path

from farm.queue.claim import Batch, ClaimedCheckpoint
from tests.chaos.null_renderer import NullRenderer
from workers.loop.devicestate import DeviceState


def a_checkpoint(number: int, folder: Path) -> ClaimedCheckpoint:
    """Its weights lie on this host."""
    return ClaimedCheckpoint(number, f"checkpoint-{number}", "sd15", "a" * 64, str(folder))


def test_a_device_reports_what_it_is_and_when_it_is_free() -> None:
    report = DeviceState(NullRenderer("NVIDIA H200", 0)).report(2.5)
    assert (report.device_class, report.memory_bytes, report.residents) == ("NVIDIA H200", 2**30, ())
    assert report.busy_seconds == 2.5


def test_a_device_reports_which_of_the_checkpoints_it_knows_lie_here(tmp_path: Path) -> None:
    renderer = NullRenderer("a device", 0)
    state = DeviceState(renderer)
    state.note(Batch(a_checkpoint(1, tmp_path), (), "key", next_checkpoint=a_checkpoint(2, tmp_path)))
    renderer.load(a_checkpoint(1, tmp_path))
    report = state.report()
    assert (report.residents, sorted(report.cached)) == ((1,), [1, 2])


def test_a_device_forgets_what_it_claimed_long_ago(tmp_path: Path) -> None:
    state = DeviceState(NullRenderer("a device", 0))
    for number in range(100):
        state.note(Batch(a_checkpoint(number, tmp_path), (), "key"))
    assert sorted(state.report().cached) == list(range(36, 100))
