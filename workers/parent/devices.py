"""Which devices a worker may be pinned to, found without loading CUDA into this process."""

import platform
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from farm.errors import ConfigError
from workers.parent.nvidia import CudaDevice, GpuListing, find_gpu

_CPU = re.compile(r"cpu(?::(?P<number>[1-9]\d?))?")
_GPU = re.compile(r"(?P<gpu>\d+)(?::(?P<slice>\d+))?", re.ASCII)


@dataclass(frozen=True)
class Device:
    """A device to pin a child to. `visible` is its CUDA_VISIBLE_DEVICES: a UUID where known, empty for the CPU.

    By the `label` a worker is known on its host, also after its process has ended: no two devices share one.
    """

    label: str
    name: str
    visible: str

    @property
    def is_cuda(self) -> bool:
        return bool(self.visible)


def needs_gpus(wish: str) -> bool:
    """Whether `--devices` asks for anything but the CPU: only then is the driver asked, which may fail."""
    return not all(_CPU.fullmatch(part.strip()) for part in wish.split(","))


def choose_devices(wish: str, listing: GpuListing) -> list[Device]:
    """The devices named by `--devices`: `all`, or a list of indices, UUIDs, `cpu` and `cpu:N`.

    `all` means every GPU that may be used, or the CPU where there is none; of a GPU in MIG mode every slice. An
    index counts what may be used, as in every CUDA program: with CUDA_VISIBLE_DEVICES=2,3 `0` is the GPU that
    `nvidia-smi` calls 2. `0:1` is the second slice of such a GPU. Raises ConfigError for what does not exist.
    """
    if wish == "all":
        return [_of_cuda(device) for gpu in listing.gpus for device in gpu] or [_cpu("cpu")]
    devices = [device for part in wish.split(",") for device in _choose(part.strip(), listing)]
    twice = [label for label, count in Counter(d.label for d in devices).items() if count > 1]
    if twice:
        raise ConfigError(
            f"--devices: {', '.join(twice)} is named twice; one worker a device (for the CPU use cpu:2)."
        )
    return devices


def _choose(part: str, listing: GpuListing) -> list[Device]:
    if match := _CPU.fullmatch(part):
        number = match["number"]
        return [_cpu(f"cpu:{index}") for index in range(int(number))] if number else [_cpu("cpu")]
    match = _GPU.fullmatch(part)
    if not match and not part.startswith(("GPU-", "MIG-")):
        raise ConfigError(
            f"--devices: {part!r} is not a device. Use all, an index, a GPU-uuid, a MIG-uuid, cpu or cpu:N."
        )
    if not listing.gpus and not listing.reason:
        return [_of_cuda(_unlisted(part))]
    chosen = _pick_by_index(match, listing) if match else find_gpu(part, listing.gpus)
    if not chosen:
        found = ", ".join(map(str, range(len(listing.gpus))))
        raise ConfigError(
            f"--devices: there is no GPU {part}; " + (f"found {found}." if found else f"{listing.reason}.")
        )
    return [_of_cuda(device) for device in chosen]


def _pick_by_index(match: re.Match[str], listing: GpuListing) -> Sequence[CudaDevice]:
    """What an index means, or a slice's number behind it; nothing where it means nothing."""
    index, number = int(match["gpu"]), match["slice"]
    gpu = listing.gpus[index] if index < len(listing.gpus) else ()
    if number is None:
        return gpu
    return [device for device in gpu if device.is_slice][int(number) : int(number) + 1]


def _unlisted(part: str) -> CudaDevice:
    """There is no nvidia-smi (in a slim container, say): CUDA understands indices and UUIDs itself."""
    return CudaDevice(int(part), f"GPU {part}", part) if part.isdecimal() else CudaDevice(None, part, part)


def _of_cuda(device: CudaDevice) -> Device:
    """Called by its index in `nvidia-smi`; a slice, which has none that lasts, by its UUID."""
    if device.is_slice or device.index is None:
        # Older drivers write slices as MIG-GPU-uuid/3/0, and a worker's name has one slash.
        return Device(device.uuid.replace("/", ":"), device.name, device.uuid)
    return Device(f"cuda:{device.index}", device.name, device.uuid)


def _cpu(label: str) -> Device:
    return Device(label, cpu_name(), "")


def cpu_name() -> str:
    """What the processor calls itself."""
    try:
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor() or platform.machine()
