"""The child process of one device: how it is started, pinned to the device, and what its end means."""

import os
import signal
import subprocess

from farm.config import Settings
from farm.processes import programs
from workers.parent.cores import usable_cores
from workers.parent.devices import Device

# Of workers.loop.runner, which this process does not import.
_MEANING_BY_STATUS = {75: "its render hung", 76: "its device broke"}


def start_child(
    settings: Settings, device: Device, worker_id: int, threads: int, *, module: str = "workers.child"
) -> subprocess.Popen[bytes]:
    """Start a child pinned to a device: CUDA_VISIBLE_DEVICES stands before its interpreter does.

    It reads orders from its stdin, and ends by itself when that closes: no child outlives its parent. Its
    log comes through its stderr, its signs of life through its stdout.
    """
    command = programs.build_command(module, str(worker_id), device.label, device.name, str(threads))
    child = subprocess.Popen(
        command,
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=programs.inherit_environment(pinned_environment(settings, device)),
        start_new_session=True,
    )
    assert child.stdin is not None
    os.set_blocking(child.stdin.fileno(), False)
    return child


def share_threads(cpu_workers: int) -> int:
    """How many threads each child computes with: as the user says, else an equal share of the cores."""
    # A list means nested regions, of which torch has none.
    wish = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if wish.isdecimal() and int(wish) > 0:
        return int(wish)
    return max(1, usable_cores() // max(1, cpu_workers))


def pinned_environment(settings: Settings, device: Device) -> dict[str, str]:
    """What a child's environment holds beyond ours."""
    parts = {
        name: getattr(settings, name) for name in ("database_url", "redis_url", "store_url", "secret_key", "pool")
    }
    return {
        **{f"FARM_{name.upper()}": value for name, value in parts.items() if value is not None},
        "CUDA_VISIBLE_DEVICES": device.visible,
        # A device is pinned by its index only where no driver lists it: then as our own environment counts.
        "CUDA_DEVICE_ORDER": os.environ.get("CUDA_DEVICE_ORDER", "PCI_BUS_ID"),
        # A worker renders what it was given and asks no hub for anything.
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "DIFFUSERS_DISABLE_REMOTE_CODE": "1",
    }


def describe_ending(returncode: int) -> str:
    """The signal that ended a child, or its exit status and what that means, where it means something."""
    if returncode < 0:
        return f"killed by {signal.Signals(-returncode).name}"
    why = _MEANING_BY_STATUS.get(returncode)
    return f"exit status {returncode}" + (f", {why}" if why else "")
