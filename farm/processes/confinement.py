"""Shuts a process of ours in before it reads what strangers made, so that a flaw in a reader reaches nothing else.

Landlock keeps it to the files that it is given, seccomp from the network and from other programs, limits from
taking the machine's memory and time. Where a kernel lacks one of these the process goes on, and says what it is not
kept from. Nothing of this can be undone. The process to confine calls it, and early: before it starts threads,
since those that run already are not confined.
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
from farm.processes.policy import NO_CALLS, NO_FILES, OF_FILES, READ, READ_FILE, WRITE, WRITE_FILE, Plan, decide
from farm.processes.surroundings import libraries

__all__ = ["become_nobody", "confine", "end_with_parent", "limit"]

_DEVICES = ("/dev/null",)
# Numbers that systemd, too, gives to services for as long as they run: nobody is known by them. One for each
# process, since processes of one user can reach each other.
_FIRST_USER, _USERS = 61_184, 4_336


def confine(
    *,
    read: Sequence[Path],
    write: Sequence[Path] = (),
    memory_bytes: int | None = None,
    seconds: float | None = None,
    file_bytes: int | None = None,
) -> tuple[str, ...]:
    """Keep this process to these files, folders and Python's libraries, for good; return what it is not kept from.

    What is written may be read, and a folder stands for all below it; links are followed now. No network, no
    program, no process beside its threads. The bounds are those of `limit`.
    """
    kernel.set_apart()
    limit(memory_bytes=memory_bytes, seconds=seconds, file_bytes=file_bytes)
    plan = decide(kernel.probe())
    gaps = [*plan.gaps, *_restrict_files(plan, read, write), *_filter_calls(plan)]
    return tuple(dict.fromkeys(gaps))


def end_with_parent() -> None:
    """Have this process killed when the thread ends that started it; at once where that has ended already."""
    parent = os.getppid()
    kernel.end_with_parent()
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def limit(*, memory_bytes: int | None = None, seconds: float | None = None, file_bytes: int | None = None) -> None:
    """Bound what this process takes from now on, beyond what it holds: private memory, processor time.

    Beyond the memory allocations fail, beyond the time the process is killed (SIGXCPU). No file that it writes
    becomes larger than `file_bytes`, and no core is dumped. A bound that is closer already stays.
    """
    _bound(resource.RLIMIT_CORE, 0)
    if memory_bytes is not None:
        _bound(resource.RLIMIT_DATA, _private_bytes() + memory_bytes)
    if seconds is not None:
        _bound(resource.RLIMIT_CPU, int(time.process_time() + seconds) + 1)
    if file_bytes is not None:
        _bound(resource.RLIMIT_FSIZE, file_bytes)


def become_nobody() -> bool:
    """Where this process is root, make it a user who owns nothing; return whether that was done.

    Which user may not even enter the folder that Python lies in: import what is needed, and open files, before. The
    kernel forgets about `end_with_parent` with it.
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


def _bound(kind: int, value: int) -> None:
    # A system may not know a bound, or have set a closer one.
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(kind, (value, value))


def _private_bytes() -> int:
    """The memory that counts against the bound, as Linux tells; elsewhere nothing is known to be held."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData:")), 0)


def _restrict_files(plan: Plan, read: Sequence[Path], write: Sequence[Path]) -> Sequence[str]:
    if not plan.files:
        return ()
    granted = [(place, READ) for place in (*libraries(), *read)]
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
        return _failed("Landlock", error, NO_FILES)
    return ()


def _filter_calls(plan: Plan) -> Sequence[str]:
    if plan.calls is None:
        kernel.leave_network()
        return ()
    try:
        kernel.filter_calls(syscalls.program(plan.calls, os.getpid()))
    except OSError as error:
        return _failed("seccomp", error, NO_CALLS)
    return ()


def _failed(what: str, error: OSError, gap: str) -> Sequence[str]:
    structlog.get_logger(__name__).warning("This process could not be confined.", by=what, error=str(error))
    return (gap,)
