"""How many cores of this machine are ours: threads beyond them would wait for each other at every barrier."""

import os
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def usable_cores() -> int:
    """The cores that this process may run on: under taskset, or in a container with a bound, not all there are."""
    cores = len(os.sched_getaffinity(0))
    try:
        quota = read_quota(_QUOTA.read_text())
    except OSError:
        # There is none outside a container, and none that the older cgroups show there.
        quota = None
    return cores if quota is None else min(cores, quota)


def read_quota(cpu_max: str) -> int | None:
    """Whole cores out of a control group's `cpu.max`, at least one; None where it sets no bound.

    See "CPU Interface Files" of the kernel's Control Group v2.
    """
    quota, period = cpu_max.split()
    return None if quota == "max" else max(1, int(quota) // int(period))
