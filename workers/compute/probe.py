"""Whether the device computes at all: asked before a worker takes work, so that a bad one costs no task a try."""

import re
from collections.abc import Callable, Mapping

import torch
from torch.nn import functional

from farm.errors import DeviceUnfit
from workers.compute.memory import is_out_of_memory
from workers.compute.precision import DTYPES

_SIDE = 64
_NEAR = 0.5
_START = "Get one from https://pytorch.org/get-started/locally/"

# What torch and CUDA say, and what to do about it.
_REMEDIES: Mapping[str, str] = {
    "driver on your system is too old": (
        f"Update the driver, or install a PyTorch for it: `nvidia-smi` shows the CUDA version that it knows. "
        f"{_START}."
    ),
    "driver version is insufficient": f"Update the driver, or install a PyTorch for it. {_START}.",
    "Found no NVIDIA driver": (
        "Install the driver; a container must be given its GPUs (`docker run --gpus all`, and the NVIDIA Container "
        "Toolkit on the host)."
    ),
    "No CUDA GPUs are available": (
        "CUDA does not see the GPU that this worker is pinned to: compare `nvidia-smi -L` with --devices and with "
        "what the scheduler or container gives to this process."
    ),
    "no kernel image": f"Install a PyTorch that was built for this GPU. {_START}.",
    "busy or unavailable": (
        "Another process holds the GPU alone: `nvidia-smi` names it, `nvidia-smi -c DEFAULT` lets several use it."
    ),
    "system not yet initialized": "Start nvidia-fabricmanager, in the driver's own version.",
    "driver/library version mismatch": "The driver was updated while it ran: reboot, or reload its modules.",
    "ECC error": "The GPU's memory failed (`nvidia-smi -q -d ECC`): reset it or reboot, else replace it.",
}
_OTHERWISE = "Look for Xid in `dmesg`, and reset the GPU (`nvidia-smi --gpu-reset`) or reboot."


def check_device(device: str, precision: str) -> None:
    """Let the device multiply and convolve in the precision that renders, and compare with what is right.

    Raises DeviceUnfit, which says what is wrong and what mends it.
    """
    if device == "cuda":
        _check_cuda()
    for name, compute in (("multiplies", _product), ("convolves", _convolution)):
        found, right = _compute_on(compute, device, DTYPES[precision]), _compute_on(compute, "cpu", torch.float64)
        # What is right is a whole number; fast convolutions come near it. Numbers that are none come near nothing.
        if not ((found - right).abs() < _NEAR).all():
            raise DeviceUnfit(
                f"The device {name} wrongly in {precision}: its results cannot be trusted. {_OTHERWISE}"
            )


def _check_cuda() -> None:
    if torch.version.cuda is None and torch.version.hip is None:
        release = torch.__version__.split("+")[0]
        raise DeviceUnfit(
            f"PyTorch {torch.__version__} was built without CUDA. Install one that has it: on Linux `pip install "
            f"--force-reinstall torch=={release}`, elsewhere as https://pytorch.org/get-started/locally/ says; or "
            "render on the processor with --devices cpu."
        )
    try:
        torch.cuda.init()
        _check_architecture()
    except (RuntimeError, AssertionError) as error:
        raise DeviceUnfit(_explain(error)) from error


def _check_architecture() -> None:
    """Whether PyTorch has code for this GPU: of its own generation, or PTX of one before to be compiled again."""
    capability, built_for = torch.cuda.get_device_capability(), torch.cuda.get_arch_list()
    if torch.version.cuda and built_for and not any(has_code(entry, capability) for entry in built_for):
        raise DeviceUnfit(
            f"This PyTorch ({torch.__version__}) has no code for {torch.cuda.get_device_name()}, whose compute "
            f"capability is {capability[0]}.{capability[1]}; it was built for {', '.join(built_for)}. "
            f"Install one that was built for it. {_START}."
        )


def has_code(entry: str, capability: tuple[int, int]) -> bool:
    """Whether code of an entry of torch's list (`sm_90`, `sm_90a`, `compute_120`) runs on a GPU.

    Machine code runs on its own major version from its minor version on, with an `a` nowhere else; PTX on all
    that came later. Source: CUDA Programming Guide, Compute Capabilities.
    """
    match = re.fullmatch(r"(sm|compute)_(\d+)(\d)([af]?)", entry)
    if not match:
        return False
    built = int(match[2]), int(match[3])
    if match[4] == "a":
        return built == capability
    if match[1] == "compute":
        return built <= capability
    return built[0] == capability[0] and built[1] <= capability[1]


def _compute_on(
    compute: Callable[[str, torch.dtype], torch.Tensor], device: str, dtype: torch.dtype
) -> torch.Tensor:
    try:
        return compute(device, dtype).to("cpu", torch.float64)
    except RuntimeError as error:
        raise DeviceUnfit(_explain(error)) from error


def _product(device: str, dtype: torch.dtype) -> torch.Tensor:
    left, right = _numbers(2, _SIDE, _SIDE).to(device, dtype)
    product: torch.Tensor = left @ right
    return product


def _convolution(device: str, dtype: torch.dtype) -> torch.Tensor:
    picture, kernel = _numbers(1, 4, _SIDE, _SIDE).to(device, dtype), _numbers(4, 4, 3, 3).to(device, dtype)
    convolved: torch.Tensor = functional.conv2d(picture, kernel, padding=1)
    return convolved


def _numbers(*shape: int) -> torch.Tensor:
    """Of -1, 0 and 1, so that products and sums of them are whole numbers in every precision."""
    return torch.randint(-1, 2, shape, generator=torch.Generator("cpu").manual_seed(1))


def _explain(error: BaseException) -> str:
    message = str(error).strip().split("\n", 1)[0].rstrip(".") or type(error).__name__
    if is_out_of_memory(error):
        return f"The device has no free memory: {message}. Another process holds it: `nvidia-smi` names it."
    remedy = next(
        (remedy for words, remedy in _REMEDIES.items() if words.lower() in str(error).lower()), _OTHERWISE
    )
    return f"The device does not compute: {message}. {remedy}"
