"""Which devices `--devices` means."""

from pathlib import Path

import pytest

from farm.errors import ConfigError
from workers.device import Gpu, choose_devices, find_gpus, parse_listing

LISTING = """\
GPU 0: NVIDIA GeForce RTX 4090 (UUID: GPU-aaaa-0)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-bbbb-1)
  MIG 1g.5gb      Device  0: (UUID: MIG-cccc-0)
"""
GPUS = [Gpu(0, "NVIDIA GeForce RTX 4090", "GPU-aaaa-0"), Gpu(1, "NVIDIA A100-SXM4-40GB", "GPU-bbbb-1")]


def pins(wish: str, gpus: list[Gpu] = GPUS) -> list[tuple[str, str]]:
    """What each chosen device is called, and what its child will see."""
    return [(device.label, device.visible) for device in choose_devices(wish, gpus)]


def test_the_drivers_listing_is_read() -> None:
    assert parse_listing(LISTING) == GPUS


def test_a_machine_without_a_driver_has_no_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_gpus() == []


@pytest.mark.parametrize(("script", "found"), [("cat <<'END'\n" + LISTING + "END", GPUS), ("exit 9", [])])
def test_the_driver_is_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, found: list[Gpu]
) -> None:
    smi = tmp_path / "nvidia-smi"
    smi.write_text(f"#!/bin/sh\n{script}\n")
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert find_gpus() == found


def test_all_means_every_gpu() -> None:
    assert pins("all") == [("cuda:0", "GPU-aaaa-0"), ("cuda:1", "GPU-bbbb-1")]


def test_all_means_the_cpu_where_there_is_no_gpu() -> None:
    assert pins("all", []) == [("cpu", "")]


@pytest.mark.parametrize("wish", ["1", "GPU-bbbb-1", " 1 "])
def test_a_gpu_is_pinned_by_its_uuid_whatever_named_it(wish: str) -> None:
    assert pins(wish) == [("cuda:1", "GPU-bbbb-1")]


def test_without_a_listing_an_index_or_uuid_is_left_to_cuda() -> None:
    assert pins("3,GPU-dddd", []) == [("cuda:3", "3"), ("GPU-dddd", "GPU-dddd")]


def test_a_slice_of_a_gpu_is_pinned_by_its_uuid() -> None:
    assert pins("MIG-cccc-0") == [("MIG-cccc-0", "MIG-cccc-0")]


def test_the_cpu_may_have_several_workers() -> None:
    assert pins("cpu:2") == [("cpu:0", ""), ("cpu:1", "")]
    assert pins("cpu") == [("cpu", "")]


def test_a_list_may_mix_gpus_and_the_cpu() -> None:
    assert pins("0, cpu") == [("cuda:0", "GPU-aaaa-0"), ("cpu", "")]


def test_a_device_says_its_name_and_kind() -> None:
    gpu, cpu = choose_devices("0,cpu", GPUS)
    assert (gpu.name, gpu.is_cuda) == ("NVIDIA GeForce RTX 4090", True)
    assert (bool(cpu.name), cpu.is_cuda) == (True, False)


@pytest.mark.parametrize("wish", ["0,0", "0,GPU-aaaa-0", "cpu,cpu", "cpu:2,cpu:3"])
def test_a_device_named_twice_is_refused(wish: str) -> None:
    with pytest.raises(ConfigError, match="is named twice"):
        choose_devices(wish, GPUS)


@pytest.mark.parametrize("wish", ["", "gpu", "0,", "-1", "cpu:0", "cpu:x", "cuda:0", "²", "all,0"])
def test_what_is_no_device_is_refused_with_what_is(wish: str) -> None:
    with pytest.raises(ConfigError, match=r"is not a device\. Use all, an index, a GPU-uuid, cpu or cpu:N"):
        choose_devices(wish, GPUS)


def test_an_index_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(ConfigError, match="there is no GPU 7; found 0, 1"):
        choose_devices("7", GPUS)
