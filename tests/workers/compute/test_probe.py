"""A device that does not compute is found before it takes a task, with what mends it."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch

from farm.errors import DeviceUnfit
from tests.workers.stand_in import StandIn, a_stand_in
from workers.compute.probe import check_device, has_code


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """A GPU, and a PyTorch that has code for it."""
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H200")
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_80", "sm_90", "compute_120"])
    with a_stand_in() as device:
        yield device


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_a_device_that_computes_passes(device: StandIn, precision: str) -> None:
    check_device("cpu", precision)
    assert device.operations == 0
    check_device("cuda", precision)
    assert device.operations > 0


def test_a_pytorch_without_cuda_is_reported_with_what_to_install() -> None:
    with pytest.raises(
        DeviceUnfit, match=r"built without CUDA.*pip install --force-reinstall torch==\d.*devices cpu"
    ):
        check_device("cuda", "fp16")


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ("The NVIDIA driver on your system is too old (found version 11040).", "Update the driver"),
        ("Found no NVIDIA driver on your system.", "Install the driver"),
        ("No CUDA GPUs are available", "nvidia-smi -L"),
        ("Unexpected error from cudaGetDeviceCount(). Error 802: system not yet initialized", "fabricmanager"),
        ("CUDA error: CUDA-capable device(s) is/are busy or unavailable", "nvidia-smi -c DEFAULT"),
        ("CUDA error: uncorrectable ECC error encountered", "memory failed"),
        ("CUDA error: unknown error", "dmesg"),
    ],
)
def test_a_driver_that_does_not_start_is_reported_with_what_to_do(
    device: StandIn, monkeypatch: pytest.MonkeyPatch, said: str, remedy: str
) -> None:
    def init() -> None:
        raise RuntimeError(said)

    monkeypatch.setattr(torch.cuda, "init", init)
    with pytest.raises(DeviceUnfit, match=remedy) as caught:
        check_device("cuda", "fp16")
    assert said.rstrip(".") in str(caught.value)


def test_a_pytorch_without_code_for_the_gpu_is_reported_with_what_it_was_built_for(
    device: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 5))
    with pytest.raises(DeviceUnfit, match=r"no code for NVIDIA H200.* 7\.5.*sm_80, sm_90"):
        check_device("cuda", "fp16")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), "no free memory.*Another process.*nvidia-smi"),
        (torch.AcceleratorError("CUDA error: no kernel image is available"), "no kernel image.*built for this GPU"),
    ],
)
def test_a_device_that_fails_at_its_first_work_is_reported_with_what_to_do(
    device: StandIn, error: Exception, words: str
) -> None:
    def fail(_func: Any, _results: Sequence[torch.Tensor]) -> None:
        raise error

    device.faults.append(fail)
    with pytest.raises(DeviceUnfit, match=words):
        check_device("cuda", "fp16")


@pytest.mark.parametrize(("operation", "word"), [("mm", "multiplies"), ("convolution", "convolves")])
@pytest.mark.parametrize("wrong", [1.0, torch.nan])
def test_a_device_that_computes_wrongly_is_not_trusted(
    device: StandIn, operation: str, word: str, wrong: float
) -> None:
    def corrupt(func: Any, results: Sequence[torch.Tensor]) -> None:
        if operation in str(func):
            results[0].view(-1)[7] += wrong

    device.faults.append(corrupt)
    with pytest.raises(DeviceUnfit, match=f"{word} wrongly in fp16"):
        check_device("cuda", "fp16")


@pytest.mark.parametrize(
    ("entry", "capability", "runs"),
    [
        ("sm_80", (8, 0), True),
        ("sm_80", (8, 9), True),
        ("sm_86", (8, 0), False),
        ("sm_80", (9, 0), False),
        ("sm_90a", (9, 0), True),
        ("sm_100a", (10, 3), False),
        ("compute_80", (12, 0), True),
        ("compute_120", (9, 0), False),
        ("gfx90a", (9, 0), False),
    ],
)
def test_machine_code_runs_on_its_generation_and_ptx_on_later_ones(
    entry: str, capability: tuple[int, int], runs: bool
) -> None:
    assert has_code(entry, capability) is runs
