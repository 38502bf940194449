"""Which system calls a confined process may not make, as the program that seccomp asks about each.

What reads files and computes needs none of these: they reach the network, other processes, other programs,
or rights that Landlock knows nothing of, such as a file's mode.
"""

import errno
import struct
from collections.abc import Mapping, Sequence

# The numbers are of the kernel's tables: arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h.
_REFUSED: Mapping[str, Sequence[int]] = {
    "x86_64": (
        *(41, 42, 49, 50, 44, 46, 53),  # socket connect bind listen sendto sendmsg socketpair
        *(57, 58, 59, 322),  # fork vfork execve execveat
        *(62, 200, 129, 297, 101, 310, 311),  # kill tkill, signals with data, ptrace, others' memory
        *(29, 30, 64, 68, 240),  # shared memory and queues
        *(90, 91, 268, 92, 93, 94, 260, 188, 189, 190, 76),  # modes, owners, attributes, lengths of files by path
        *(272, 308, 165, 166, 155, 161, 304),  # unshare setns mount umount pivot_root chroot open_by_handle_at
        *(321, 298, 323, 246, 320, 175, 176, 313),  # bpf perf userfaultfd kexec modules
        *(248, 249, 250, 169, 167, 163, 164, 227, 103, 170, 171, 172, 173),  # keys, and the machine itself
    ),
    "aarch64": (
        *(198, 203, 200, 201, 206, 211, 199),
        *(221, 281),
        *(129, 130, 138, 240, 117, 270, 271),
        *(194, 196, 190, 186, 180),
        *(52, 53, 54, 55, 5, 6, 7, 45),
        *(97, 268, 40, 39, 41, 51, 265),
        *(280, 241, 282, 104, 294, 105, 106, 273),
        *(217, 218, 219, 142, 224, 89, 170, 112, 116, 161, 162),
    ),
}
_REFUSED_EVERYWHERE = (
    *(424, 434, 438),  # other processes by descriptor
    *(425, 426, 427),  # io_uring, which makes calls that no filter sees
    *(428, 429, 430, 431, 432, 433, 442),  # mounts
    452,  # fchmodat2
)
MACHINES = tuple(_REFUSED)
_CLONE: Mapping[str, int] = {"x86_64": 56, "aarch64": 220}
_TGKILL: Mapping[str, int] = {"x86_64": 234, "aarch64": 131}
_CLONE3 = 435
# Younger than what was looked through here. C libraries do without what is not there.
_UNKNOWN = 463
_ARCHITECTURES: Mapping[str, int] = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
# Where the kernel shows a call: its number, the machine's kind, the lower half of its first argument.
_NUMBER, _ARCHITECTURE, _FIRST = 0, 4, 16
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_CLONE_THREAD = 0x00010000


def program(machine: str, pid: int) -> bytes:
    """The program for a process on a machine of this kind. Threads may be started, and our own signalled."""
    return b"".join(
        (
            _load(_ARCHITECTURE),
            _unless(_EQUAL, _ARCHITECTURES[machine], _KILL),
            _load(_NUMBER),
            *(_if_equal(number, _ERRNO | errno.EPERM) for number in (*_REFUSED[machine], *_REFUSED_EVERYWHERE)),
            # Its flags lie in memory that a filter cannot read; told that there is none, libraries take clone.
            _if_equal(_CLONE3, _ERRNO | errno.ENOSYS),
            _if_first(_CLONE[machine], _ANY_BIT, _CLONE_THREAD),
            _if_first(_TGKILL[machine], _EQUAL, pid),
            _step(_AT_LEAST, _UNKNOWN, 0, 1) + _return(_ERRNO | errno.ENOSYS),
            _return(_ALLOW),
        )
    )


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """One instruction: what to do, how many of the next to skip in either case, the value."""
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _load(offset: int) -> bytes:
    return _step(_LOAD, offset)


def _return(answer: int) -> bytes:
    return _step(_RETURN, answer)


def _if_equal(value: int, answer: int) -> bytes:
    return _step(_EQUAL, value, 0, 1) + _return(answer)


def _unless(test: int, value: int, answer: int) -> bytes:
    return _step(test, value, 1, 0) + _return(answer)


def _if_first(number: int, test: int, value: int) -> bytes:
    """Of a call allow what the test finds in its first argument, and refuse the rest."""
    body = _load(_FIRST) + _unless(test, value, _ERRNO | errno.EPERM) + _return(_ALLOW)
    return _step(_EQUAL, number, 0, len(body) // 8) + body
