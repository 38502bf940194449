"""Which devices a worker may be pinned to, found without loading CUDA into this process."""

import platform
import re
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from farm.errors import ConfigError

_SMI_LINE = re.compile(r"GPU (?P<index>\d+): (?P<name>.+) \(UUID: (?P<uuid>[^)]+)\)")


@dataclass(frozen=True)
class Device:
    """A device to pin a child to. `visible` is its CUDA_VISIBLE_DEVICES: a UUID where known, empty for the CPU."""

    label: str
    name: str
    visible: str

    @property
    def is_cuda(self) -> bool:
        return bool(self.visible)


@dataclass(frozen=True)
class Gpu:
    """One line of `nvidia-smi -L`."""

    index: int
    name: str
    uuid: str


def find_gpus() -> list[Gpu]:
    """The GPUs that the driver lists; none where there is no driver."""
    try:
        listing = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return parse_listing(listing)


def parse_listing(listing: str) -> list[Gpu]:
    """Read the output of `nvidia-smi -L`."""
    return [Gpu(int(m["index"]), m["name"], m["uuid"]) for m in _SMI_LINE.finditer(listing)]


def choose_devices(wish: str, gpus: list[Gpu]) -> list[Device]:
    """The devices named by `--devices`: `all`, or a list of indices, GPU UUIDs, `cpu` and `cpu:N`.

    `all` means every GPU, or the CPU where there is none. Raises ConfigError for what does not exist.
    """
    if wish == "all":
        return [_of_gpu(gpu) for gpu in gpus] or [_cpu("cpu")]
    devices = [device for part in wish.split(",") for device in _choose(part.strip(), gpus)]
    twice = [label for label, count in Counter(d.label for d in devices).items() if count > 1]
    if twice:
        raise ConfigError(
            f"--devices: {', '.join(twice)} is named twice; one worker a device (for the CPU use cpu:2)."
        )
    return devices


def _choose(part: str, gpus: list[Gpu]) -> list[Device]:
    if part == "cpu":
        return [_cpu("cpu")]
    if match := re.fullmatch(r"cpu:([1-9]\d?)", part):
        return [_cpu(f"cpu:{number}") for number in range(int(match[1]))]
    if part.isdecimal():
        return [_by_index(int(part), gpus)]
    if part.startswith(("GPU-", "MIG-")):
        known = next((gpu for gpu in gpus if gpu.uuid == part), None)
        return [_of_gpu(known) if known else Device(part, part, part)]
    raise ConfigError(f"--devices: {part!r} is not a device. Use all, an index, a GPU-uuid, cpu or cpu:N.")


def _by_index(index: int, gpus: list[Gpu]) -> Device:
    for gpu in gpus:
        if gpu.index == index:
            return _of_gpu(gpu)
    if gpus:
        raise ConfigError(f"--devices: there is no GPU {index}; found {', '.join(str(g.index) for g in gpus)}.")
    # No nvidia-smi (a slim container, say): CUDA understands the index itself.
    return Device(f"cuda:{index}", f"GPU {index}", str(index))


def _of_gpu(gpu: Gpu) -> Device:
    return Device(f"cuda:{gpu.index}", gpu.name, gpu.uuid)


def _cpu(label: str) -> Device:
    return Device(label, cpu_name(), "")


def cpu_name() -> str:
    """What the processor calls itself."""
    try:
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor() or platform.machine()
