"""Confines a process before it reads files from strangers, so that a flaw in a reader harms nothing else.

Landlock restricts it to given files, seccomp blocks the network and other programs, limits bound memory and time.
Where a kernel lacks one of these the process continues, and reports what is not prevented. Confinement cannot be
undone. The process to confine calls it itself, and early: before it starts threads, since those that run already
are not confined.
"""

import contextlib
import os
import resource
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import structlog

from farm.processes import kernel, syscalls
from farm.processes.confinementplan import (
    NO_CALLS,
    NO_FILES,
    OF_FILES,
    READ,
    READ_FILE,
    WRITE,
    WRITE_FILE,
    ConfinementPlan,
    plan_confinement,
)
from farm.processes.libraries import list_library_paths

__all__ = ["confine", "drop_root", "end_with_parent", "limit"]

_DEVICES = ("/dev/null",)
# Numbers that systemd, too, gives to running services: no account has them. One for each process, since processes
# of one user can reach each other.
_FIRST_USER, _USERS = 61_184, 4_336


def confine(
    *,
    read: Sequence[Path],
    write: Sequence[Path] = (),
    memory_bytes: int | None = None,
    seconds: float | None = None,
    file_bytes: int | None = None,
) -> tuple[str, ...]:
    """Keep this process to these files, folders and Python's libraries, for good; return what is not prevented.

    Writable files may also be read, and a folder stands for all below it; links are resolved now. No network, no
    program, no process except its threads. The limits are those of `limit`.
    """
    kernel.isolate_process()
    limit(memory_bytes=memory_bytes, seconds=seconds, file_bytes=file_bytes)
    plan = plan_confinement(kernel.probe())
    gaps = [*plan.gaps, *_restrict_files(plan, read, write), *_filter_calls(plan)]
    return tuple(dict.fromkeys(gaps))


def end_with_parent() -> None:
    """Have the kernel kill this process when the thread that started it ends; at once if it has ended already."""
    parent = os.getppid()
    kernel.end_with_parent()
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def limit(*, memory_bytes: int | None = None, seconds: float | None = None, file_bytes: int | None = None) -> None:
    """Limit what this process may use from now on, in addition to its present use: private memory, processor time.

    Beyond the memory allocations fail, beyond the time the process is killed (SIGXCPU). No file that it writes
    becomes larger than `file_bytes`, and no core is dumped. A lower limit stays.
    """
    _set_limit(resource.RLIMIT_CORE, 0)
    if memory_bytes is not None:
        _set_limit(resource.RLIMIT_DATA, _measure_private_bytes() + memory_bytes)
    if seconds is not None:
        _set_limit(resource.RLIMIT_CPU, int(time.process_time() + seconds) + 1)
    if file_bytes is not None:
        _set_limit(resource.RLIMIT_FSIZE, file_bytes)


def drop_root() -> bool:
    """If this process is root, make it a user who owns nothing; return whether that was done.

    That user may not be able to enter Python's own folder: import all modules, and open files, before. The change
    also cancels `end_with_parent` in the kernel.
    """
    user = _FIRST_USER + os.getpid() % _USERS
    try:
        if os.geteuid() != 0:
            return False
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    except OSError:
        return False
    return True


def _set_limit(kind: int, value: int) -> None:
    # A system may not support a limit, or have set a lower one.
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(kind, (value, value))


def _measure_private_bytes() -> int:
    """The memory in use that counts against the limit, from Linux's /proc; 0 on other systems."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData:")), 0)


def _restrict_files(plan: ConfinementPlan, read: Sequence[Path], write: Sequence[Path]) -> Sequence[str]:
    if not plan.files:
        return ()
    granted = [(place, READ) for place in (*list_library_paths(), *read)]
    granted += [(place, WRITE) for place in write]
    granted += [(Path(device), READ_FILE | WRITE_FILE) for device in _DEVICES]
    resolved = [(place.resolve(), rights) for place, rights in granted]
    try:
        kernel.restrict_files(
            [(place, rights if place.is_dir() else rights & OF_FILES) for place, rights in resolved],
            files=plan.files,
            network=plan.network,
            scoped=plan.scoped,
            version=plan.version,
        )
    except OSError as error:
        return _report_failure("Landlock", error, NO_FILES)
    return ()


def _filter_calls(plan: ConfinementPlan) -> Sequence[str]:
    if plan.calls is None:
        kernel.leave_network()
        return ()
    try:
        kernel.filter_calls(syscalls.build_filter(plan.calls, os.getpid()))
    except OSError as error:
        return _report_failure("seccomp", error, NO_CALLS)
    return ()


def _report_failure(what: str, error: OSError, gap: str) -> Sequence[str]:
    structlog.get_logger(__name__).warning(
        "This process could not be confined by one of the kernel's means.", by=what, error=str(error)
    )
    return (gap,)
