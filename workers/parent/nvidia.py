"""What NVIDIA's driver lists on this machine, and what of it this process may use."""

import re
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from farm.errors import ConfigError
from farm.processes import programs

# The first call loads the driver where nothing else holds it open (persistence mode is off): with many
# GPUs that takes long, and the second call finds it loaded.
_PATIENCE_SECONDS = (30.0, 90.0)
_TRACES = ("dev/nvidiactl", "dev/nvidia0", "proc/driver/nvidia")
_GPU = re.compile(r"GPU (?P<index>\d+): (?P<name>.+) \(UUID: (?P<uuid>[^)]+)\)")
_SLICE = re.compile(r"\s+(?P<profile>MIG .+?)\s+Device\s+\d+: \(UUID: (?P<uuid>[^)]+)\)")
# What hides every GPU on purpose: CUDA's own words, and Slurm's for a job that asked for none.
_HIDDEN = ("", "-1", "nodevfiles", "none", "void")
_REMEDY = "Mend it, or render on the processor with --devices cpu."


@dataclass(frozen=True)
class CudaDevice:
    """What a process can be pinned to: a GPU, or a slice of one that is in MIG mode.

    `index` is the GPU's in `nvidia-smi`, and None where only its UUID is known. `gpu_uuid` is the GPU's own,
    which a slice has beside its `uuid`.
    """

    index: int | None
    name: str
    uuid: str
    gpu_uuid: str = ""

    @property
    def is_slice(self) -> bool:
        return self.uuid.startswith("MIG-")


UsableGpu = tuple[CudaDevice, ...]
"""What one index means: a GPU, or all slices of a GPU in MIG mode."""


@dataclass(frozen=True)
class GpuListing:
    """What may be used, in the order in which CUDA counts it.

    Where it is nothing, `reason` says why; it is empty where no driver was asked, and CUDA may know more.
    """

    gpus: Sequence[UsableGpu] = ()
    reason: str = ""


def find_gpus(environment: Mapping[str, str], root: Path = Path("/")) -> GpuListing:
    """What this process may use, after CUDA_VISIBLE_DEVICES and NVIDIA_VISIBLE_DEVICES.

    It is nothing only where there is no driver, or where the environment hides its GPUs: a driver that is there
    and fails raises ConfigError: else the processor renders, and days may pass until somebody sees it.
    """
    wish = environment.get("CUDA_VISIBLE_DEVICES")
    if wish is not None and _first(wish) in _HIDDEN:
        return GpuListing(reason=f"CUDA_VISIBLE_DEVICES={wish} hides every GPU")
    if smi := programs.find("nvidia-smi", environment.get("PATH")):
        # In a container that was given none there may be a driver to ask, which lists nothing. `void` says less:
        # it is also set where the container runtime hands out GPUs by itself (CDI).
        if environment.get("NVIDIA_VISIBLE_DEVICES") == "none":
            return GpuListing(reason="NVIDIA_VISIBLE_DEVICES=none hides every GPU")
        return GpuListing(select_visible(_list_gpus(smi), wish))
    if not any((root / trace).exists() for trace in _TRACES):
        return GpuListing()
    if wish is None:
        raise ConfigError(
            "There is an NVIDIA driver, but no nvidia-smi to ask for its GPUs: name them (--devices 0), or install "
            "it (in a container: NVIDIA_DRIVER_CAPABILITIES=compute,utility). To render on the processor: "
            "--devices cpu."
        )
    return GpuListing([(_unlisted(entry),) for entry in _entries(wish)])


def _list_gpus(smi: str) -> list[UsableGpu]:
    gpus = parse_listing(_ask(smi))
    if not gpus:
        raise ConfigError(f"The NVIDIA driver is there and lists no GPU (`nvidia-smi -L`). {_REMEDY}")
    return gpus


def _ask(smi: str) -> str:
    """The output of `nvidia-smi -L`. Raises ConfigError where it fails or does not answer."""
    for seconds in _PATIENCE_SECONDS:
        asked = subprocess.Popen([smi, "-L"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            output, _ = asked.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            _abandon(asked)
            continue
        if asked.returncode == 0:
            return output
        message = " ".join(output.split())[:300] or "without a message"
        raise ConfigError(
            f"The NVIDIA driver failed: nvidia-smi ended with {asked.returncode} ({message}). {_REMEDY}"
        )
    raise ConfigError(
        f"The NVIDIA driver does not answer: `nvidia-smi -L` took over {_PATIENCE_SECONDS[-1]:.0f} s. A GPU may "
        f"hang (see dmesg for Xid), or the driver loads again each time (`nvidia-smi -pm 1` keeps it). {_REMEDY}"
    )


def _abandon(process: subprocess.Popen[str]) -> None:
    """Kill it, but do not wait for long: one that hangs inside the driver cannot die."""
    process.kill()
    with suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=1)


def parse_listing(listing: str) -> list[UsableGpu]:
    """Read the output of `nvidia-smi -L`: below a GPU in MIG mode stand its slices, and only they can be used."""
    gpus: list[tuple[CudaDevice, list[CudaDevice]]] = []
    for line in listing.splitlines():
        if match := _GPU.match(line):
            gpus.append((CudaDevice(int(match["index"]), match["name"], match["uuid"], match["uuid"]), []))
        elif gpus and (match := _SLICE.match(line)):
            gpu, slices = gpus[-1]
            slices.append(CudaDevice(gpu.index, f"{gpu.name} {match['profile']}", match["uuid"], gpu.uuid))
    return [tuple(slices) or (gpu,) for gpu, slices in gpus]


def select_visible(gpus: Sequence[UsableGpu], wish: str | None) -> list[UsableGpu]:
    """What CUDA_VISIBLE_DEVICES leaves of what the driver lists, in its order.

    As CUDA reads it: indices as in `nvidia-smi`, UUIDs or what they begin with; what stands after an entry that
    means nothing is hidden. Raises ConfigError where it leaves nothing by mistake. Source: CUDA Programming
    Guide, CUDA Environment Variables.
    """
    if wish is None:
        return list(gpus)
    found: list[UsableGpu] = []
    for entry in _entries(wish):
        gpu = find_gpu(entry, gpus)
        if gpu is None:
            break
        if gpu in found:
            raise ConfigError(
                f"CUDA_VISIBLE_DEVICES={wish} names {entry} twice, for which CUDA shows no GPU at all."
            )
        found.append(gpu)
    if not found:
        raise ConfigError(f"CUDA_VISIBLE_DEVICES={wish} names no GPU that nvidia-smi -L lists. {_REMEDY}")
    return found


def find_gpu(entry: str, gpus: Sequence[UsableGpu]) -> UsableGpu | None:
    """The GPU that an entry means; None where it means none, or more than one."""
    if entry.isascii() and entry.isdecimal():
        return next((gpu for gpu in gpus if gpu[0].index == int(entry)), None)
    if not entry.startswith(("GPU-", "MIG-")):
        return None
    whole = [gpu for gpu in gpus if gpu[0].gpu_uuid.startswith(entry)]
    slices = [(device,) for gpu in gpus for device in gpu if device.is_slice and device.uuid.startswith(entry)]
    found = [*whole, *slices]
    return found[0] if len(found) == 1 else None


def _unlisted(entry: str) -> CudaDevice:
    return CudaDevice(int(entry), f"GPU {entry}", entry) if entry.isdecimal() else CudaDevice(None, entry, entry)


def _entries(wish: str) -> list[str]:
    return [entry.strip() for entry in wish.split(",")]


def _first(wish: str) -> str:
    return _entries(wish)[0].lower()
