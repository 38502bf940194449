"""The system calls of Linux that confine a process, which Python lacks, and which of them this kernel has.

Sources: landlock(7), seccomp(2), prctl(2) and the kernel's `include/uapi`.
"""

import ctypes
import os
import platform
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_SECCOMP_NUMBERS = {"x86_64": 317, "aarch64": 277}
# These have one number on every machine.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1
_SET_MODE_FILTER, _GET_ACTION_AVAIL = 1, 2
_FILTER_ALL_THREADS = 1
_RET_ERRNO = 0x00050000
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38


@dataclass(frozen=True)
class KernelFeatures:
    """What a kernel supports: `landlock` is the version of that interface, 0 for none; `filters` are seccomp's."""

    landlock: int = 0
    machine: str = ""
    filters: bool = False


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


@cache
def _load_libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _call(number: int, *arguments: object) -> int:
    """A system call. Raises OSError."""
    wide = [ctypes.c_long(argument) if isinstance(argument, int) else argument for argument in arguments]
    answer: int = _load_libc().syscall(ctypes.c_long(number), *wide)
    if answer < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return answer


def probe() -> KernelFeatures:
    """What the kernel supports for this process: containers often block some of it."""
    if sys.platform != "linux":
        return KernelFeatures(machine=platform.machine())
    return KernelFeatures(_probe_landlock(), platform.machine(), _has_seccomp())


def _probe_landlock() -> int:
    try:
        return _call(_CREATE_RULESET, None, 0, _RULESET_VERSION)
    except OSError:
        return 0


def _has_seccomp() -> bool:
    if platform.machine() not in _SECCOMP_NUMBERS or ctypes.sizeof(ctypes.c_void_p) != 8:
        return False
    try:
        _call(_SECCOMP_NUMBERS[platform.machine()], _GET_ACTION_AVAIL, 0, ctypes.byref(ctypes.c_uint32(_RET_ERRNO)))
    except OSError:
        return False
    return True


def isolate_process() -> None:
    """Gain no rights from programs, and hide memory from this user's other processes. Cannot be undone."""
    if sys.platform == "linux":
        _load_libc().prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        _load_libc().prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def end_with_parent() -> None:
    """Be killed as soon as the thread that started this process ends. Call it again after a change of user."""
    if sys.platform == "linux":
        _load_libc().prctl(_PR_SET_PDEATHSIG, 9, 0, 0, 0)


def leave_network() -> None:
    """Move to an empty network namespace, if the kernel permits it."""
    if sys.platform == "linux" and _load_libc().unshare(_CLONE_NEWNET) != 0:
        _load_libc().unshare(_CLONE_NEWUSER | _CLONE_NEWNET)


def restrict_files(
    granted: list[tuple[Path, int]], *, files: int, network: int = 0, scoped: int = 0, version: int
) -> None:
    """Take every right of `files` from this thread and its descendants, except those granted at a path and below.

    A missing path grants nothing. Raises OSError.
    """
    # Older kernels know only the first fields, and refuse a larger table.
    size = 8 if version < 4 else 16 if version < 6 else 24
    ruleset = _call(_CREATE_RULESET, ctypes.byref(_Ruleset(files, network, scoped)), size, 0)
    try:
        for path, rights in granted:
            _grant(ruleset, path, rights & files)
        _call(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _grant(ruleset: int, path: Path, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        _call(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, ctypes.byref(_PathBeneath(rights, place)), 0)
    finally:
        os.close(place)


def filter_calls(program: bytes) -> None:
    """Have the kernel run this program, of eight bytes an instruction, for each system call. Raises OSError."""
    table = ctypes.byref(_Program(len(program) // 8, program))
    if _call(_SECCOMP_NUMBERS[platform.machine()], _SET_MODE_FILTER, _FILTER_ALL_THREADS, table) != 0:
        raise OSError("a thread could not be confined")
