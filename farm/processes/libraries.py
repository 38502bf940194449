"""What every Python process reads besides its input: libraries, and the system files that they need."""

import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from farm.processes import programs

_SYSTEM = (
    *("/usr", "/lib", "/lib32", "/lib64", "/nix/store", "/opt/rocm"),
    *("/etc/ld.so.cache", "/etc/localtime"),
    *("/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/sys/vm", "/proc/filesystems"),
    *("/sys/devices/system", "/sys/fs/cgroup", "/sys/kernel/mm/transparent_hugepage"),
    *("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom"),
)


def list_library_paths() -> list[Path]:
    """The folders and files that imports and their libraries may be read from."""
    found = dict.fromkeys(Path(place).resolve() for place in (*_SYSTEM, *_list_python_paths()) if place)
    # A Python installed into the root folder would otherwise grant the whole disk.
    return [place for place in found if place != Path("/")]


def _list_python_paths() -> Iterator[str]:
    yield from sys.path
    for folder in map(Path, sys.path):
        if folder.name in ("site-packages", "dist-packages"):
            yield from _follow_links(folder)
    yield from programs.list_library_folders()
    yield from sysconfig.get_paths().values()
    yield from (sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix)


def _follow_links(folder: Path) -> Iterator[str]:
    """The targets of packages that are linked into a folder, whole or file by file, as some installers do."""
    try:
        entries = list(folder.iterdir())
    except OSError:
        return
    for entry in entries:
        if entry.is_symlink():
            yield str(entry.resolve())
        elif entry.is_dir() and (first := next(entry.iterdir(), None)) is not None and first.is_symlink():
            yield str(first.resolve().parent)
