"""What NVIDIA's driver lists, and what of it a process may use."""

from pathlib import Path

import pytest

from farm.errors import ConfigError
from workers.parent import nvidia
from workers.parent.nvidia import CudaDevice, GpuListing, find_gpus, parse_listing, select_visible

LISTING = """\
GPU 0: NVIDIA GeForce RTX 4090 (UUID: GPU-aaaa-0)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-bbbb-1)
  MIG 3g.20gb     Device  0: (UUID: MIG-cccc-0)
  MIG 1g.5gb+me   Device  1: (UUID: MIG-GPU-bbbb-1/7/0)
GPU 2: NVIDIA GeForce RTX 4090 (UUID: GPU-aabb-2)
"""
FIRST = (CudaDevice(0, "NVIDIA GeForce RTX 4090", "GPU-aaaa-0", "GPU-aaaa-0"),)
SLICES = (
    CudaDevice(1, "NVIDIA A100-SXM4-40GB MIG 3g.20gb", "MIG-cccc-0", "GPU-bbbb-1"),
    CudaDevice(1, "NVIDIA A100-SXM4-40GB MIG 1g.5gb+me", "MIG-GPU-bbbb-1/7/0", "GPU-bbbb-1"),
)
LAST = (CudaDevice(2, "NVIDIA GeForce RTX 4090", "GPU-aabb-2", "GPU-aabb-2"),)
PLACES = [FIRST, SLICES, LAST]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A machine's root, so far without any trace of a driver."""
    return tmp_path


def driver(root: Path, script: str) -> dict[str, str]:
    """The environment of a machine whose `nvidia-smi` does this."""
    smi = root / "nvidia-smi"
    smi.write_text(f"#!/bin/sh\n{script}\n")
    smi.chmod(0o755)
    return {"PATH": f"{root}:/usr/bin:/bin"}


def answering(root: Path) -> dict[str, str]:
    return driver(root, f"cat <<'END'\n{LISTING}END")


@pytest.fixture(autouse=True)
def _path(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    monkeypatch.setenv("PATH", f"{root}:/usr/bin:/bin")


def test_a_gpu_in_mig_mode_is_listed_as_its_slices() -> None:
    assert parse_listing(LISTING) == PLACES


def test_the_driver_is_asked(root: Path) -> None:
    assert find_gpus(answering(root), root) == GpuListing(PLACES)


def test_a_machine_without_a_driver_has_no_gpu(root: Path) -> None:
    assert find_gpus({"PATH": str(root)}, root) == GpuListing()


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo 'NVIDIA-SMI has failed: driver not loaded'; exit 9", "ended with 9 .*driver not loaded"),
        ("echo 'No devices found.'", "lists no GPU"),
    ],
)
def test_a_driver_that_fails_is_not_taken_for_a_missing_one(root: Path, script: str, words: str) -> None:
    with pytest.raises(ConfigError, match=f"{words}.*--devices cpu"):
        find_gpus(driver(root, script), root)


def test_a_driver_that_does_not_answer_is_not_taken_for_a_missing_one(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nvidia, "_PATIENCE_SECONDS", (0.1, 0.1))
    with pytest.raises(ConfigError, match=r"does not answer.*--devices cpu"):
        find_gpus(driver(root, "exec sleep 60"), root)


def test_a_driver_that_is_slow_at_first_is_asked_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvidia, "_PATIENCE_SECONDS", (1.0, 60.0))
    script = f"if [ ! -e {root}/loaded ]; then touch {root}/loaded; exec sleep 60; fi\ncat <<'END'\n{LISTING}END"
    assert find_gpus(driver(root, script), root) == GpuListing(PLACES)


@pytest.mark.parametrize("trace", ["dev/nvidia0", "proc/driver/nvidia"])
def test_a_driver_without_nvidia_smi_is_not_taken_for_a_missing_one(root: Path, trace: str) -> None:
    (root / trace).mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"no nvidia-smi.*--devices cpu"):
        find_gpus({"PATH": str(root)}, root)


def test_a_driver_without_nvidia_smi_leaves_the_devices_of_the_environment(root: Path) -> None:
    (root / "dev/nvidiactl").mkdir(parents=True)
    gpus = find_gpus({"PATH": str(root), "CUDA_VISIBLE_DEVICES": "3,GPU-dddd"}, root).gpus
    assert [(device.index, device.uuid) for (device,) in gpus] == [(3, "3"), (None, "GPU-dddd")]


@pytest.mark.parametrize("wish", ["", "-1", "NoDevFiles", "-1,0"])
def test_gpus_that_are_hidden_on_purpose_are_no_fault_of_the_driver(root: Path, wish: str) -> None:
    listing = find_gpus({**driver(root, "exit 9"), "CUDA_VISIBLE_DEVICES": wish}, root)
    assert not listing.gpus
    assert "hides every GPU" in listing.reason


def test_a_container_without_a_gpu_lists_no_gpu(root: Path) -> None:
    listing = find_gpus({**driver(root, "exit 9"), "NVIDIA_VISIBLE_DEVICES": "none"}, root)
    assert listing == GpuListing(reason="NVIDIA_VISIBLE_DEVICES=none hides every GPU")


def test_a_container_whose_gpus_come_by_cdi_has_them(root: Path) -> None:
    assert find_gpus({**answering(root), "NVIDIA_VISIBLE_DEVICES": "void"}, root) == GpuListing(PLACES)


def test_the_environment_of_the_parent_is_heeded(root: Path) -> None:
    assert find_gpus({**answering(root), "CUDA_VISIBLE_DEVICES": "2"}, root) == GpuListing([LAST])


@pytest.mark.parametrize(
    ("wish", "left"),
    [
        (None, PLACES),
        ("2,0", [LAST, FIRST]),
        (" 0 , 2 ", [FIRST, LAST]),
        ("1", [SLICES]),
        ("GPU-aaaa-0", [FIRST]),
        ("GPU-aab", [LAST]),
        ("GPU-bb", [SLICES]),
        ("MIG-cccc", [SLICES[:1]]),
        ("MIG-GPU-bbbb-1/7/0", [SLICES[1:]]),
        ("0,MIG-cccc-0", [FIRST, SLICES[:1]]),
        # What stands after an entry that means nothing is hidden.
        ("0,7,2", [FIRST]),
        ("0,-1,2", [FIRST]),
        ("2,GPU-aa,0", [LAST]),
        ("0,two,2", [FIRST]),
    ],
)
def test_cuda_visible_devices_is_read_as_cuda_reads_it(wish: str | None, left: list[object]) -> None:
    assert select_visible(PLACES, wish) == left


@pytest.mark.parametrize("wish", ["7", "GPU-ffff", "GPU-aa", "0,0", "0,GPU-aaaa", "²"])
def test_an_environment_that_hides_every_gpu_by_mistake_is_refused(wish: str) -> None:
    with pytest.raises(ConfigError, match="CUDA_VISIBLE_DEVICES"):
        select_visible(PLACES, wish)
