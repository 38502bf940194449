"""What is recorded with each image."""

from importlib.metadata import version

from farm.dispatch import ClaimedCheckpoint
from workers.provenance import Machine

CHECKPOINT = ClaimedCheckpoint(1, "demo", "sd15", "a" * 64, "/somewhere/private")


def test_what_entered_the_pixels_is_recorded() -> None:
    recorded = Machine("a card", "fp16", None).provenance(CHECKPOINT, bucket=4)
    assert (recorded["checkpoint"], recorded["checkpoint_sha256"]) == ("demo", "a" * 64)
    assert (recorded["device"], recorded["precision"], recorded["bucket"]) == ("a card", "fp16", 4)


def test_the_software_is_recorded_with_its_versions() -> None:
    versions = Machine("a card", "fp16", None).versions
    assert versions["torch"] == version("torch")
    assert versions.keys() == {"diffusion-farm", "torch", "diffusers", "transformers"}


def test_the_threads_are_recorded_where_they_enter_the_pixels() -> None:
    on_cpu, on_gpu = (Machine("a device", "fp32", threads).provenance(CHECKPOINT, 1) for threads in (2, None))
    assert on_cpu["threads"] == 2
    assert "threads" not in on_gpu


def test_no_place_on_the_workers_disk_is_recorded() -> None:
    assert "/somewhere" not in str(Machine("a card", "fp16", None).provenance(CHECKPOINT, 1))
