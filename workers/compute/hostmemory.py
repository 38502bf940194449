"""How much memory of the host this process may use: the machine's, or what a control group leaves of it."""

import ctypes
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_GROUPS = Path("/sys/fs/cgroup")
_KIB = 1024


@dataclass(frozen=True)
class HostMemory:
    """In bytes: what there is, and what programs may still take without pushing others out."""

    total: int
    available: int


@dataclass(frozen=True)
class GroupFiles:
    """The files of a control group's memory controller, which two generations name differently.

    See "Memory Interface Files" of the kernel's Control Group v2, and its Memory Resource Controller (v1).
    """

    limit: str
    usage: str
    unused_cache: str


_V2 = GroupFiles("memory.max", "memory.current", "inactive_file")
_V1 = GroupFiles("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def read_host_memory(proc: Path = _PROC, groups: Path = _GROUPS) -> HostMemory:
    """What this process may use now: the least of the machine and of each control group that it is in."""
    machine = _read_machine(proc)
    bounds = [machine, *_read_groups(proc, groups)]
    return HostMemory(min(bound.total for bound in bounds), min(bound.available for bound in bounds))


def give_back_heap() -> None:
    """Give freed memory back to the system.

    The C library keeps what lies between pieces that are in use: without this a worker's memory grew by a tenth
    while checkpoints came and went in half precision.
    """
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        # Not the GNU C library.
        return
    trim(0)


def _read_machine(proc: Path) -> HostMemory:
    try:
        lines = (proc / "meminfo").read_text().splitlines()
        sizes = {name: int(rest.split()[0]) * _KIB for name, _, rest in (line.partition(":") for line in lines)}
        return HostMemory(sizes["MemTotal"], sizes["MemAvailable"])
    except (OSError, KeyError):
        # Not Linux: half of what there is, since nothing says what others use.
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return HostMemory(total, total // 2)


def _read_groups(proc: Path, groups: Path) -> Iterator[HostMemory]:
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _number, controllers, path = line.split(":", 2)
        if not controllers:
            yield from _read_branch(groups, path, _V2)
        elif "memory" in controllers.split(","):
            yield from _read_branch(groups / "memory", path, _V1)


def _read_branch(root: Path, path: str, files: GroupFiles) -> Iterator[HostMemory]:
    """The bounds of a group and of those above it. In a container the group itself is what lies at the root."""
    folder = root / path.lstrip("/")
    for group in (folder, *folder.parents):
        if found := _read_group(group, files):
            yield found
        if group == root:
            return


def _read_group(folder: Path, files: GroupFiles) -> HostMemory | None:
    """A group's bound; None where it has none. Cached pages that are not in use count as available."""
    try:
        text = (folder / files.limit).read_text().strip()
        if text == "max":
            return None
        limit, usage = int(text), int((folder / files.usage).read_text())
        statistics = _read_pairs((folder / "memory.stat").read_text())
    except (OSError, ValueError):
        return None
    used = max(0, usage - statistics.get(files.unused_cache, 0))
    return HostMemory(limit, max(0, limit - used))


def _read_pairs(text: str) -> Mapping[str, int]:
    return {name: int(value) for name, value in (line.split() for line in text.splitlines())}
