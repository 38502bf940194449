"""Which system calls a confined process may not make, as the BPF program that seccomp runs for each call.

Reading files and computing needs none of these calls: they reach the network, other processes, other programs,
or rights that Landlock does not cover, such as a file's mode.
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
        *(29, 30, 31, 64, 65, 66, 220, 68, 69, 70, 71),  # memory, semaphores and queues of System V
        *(240, 241, 242, 243, 244, 245),  # queues of POSIX
        *(299, 307),  # recvmmsg sendmmsg
        *(141, 251, 142, 144, 314, 279, 256),  # others' priorities, how they are scheduled, where their memory lies
        *(90, 91, 268, 92, 93, 94, 260, 188, 189, 190, 76),  # modes, owners, attributes, lengths of files by path
        *(132, 235, 261, 280),  # times of files
        *(253, 294, 254, 300, 301),  # what others do with files
        *(272, 308, 165, 166, 155, 161, 304),  # unshare setns mount umount pivot_root chroot open_by_handle_at
        *(321, 298, 323, 246, 320, 175, 176, 313),  # bpf perf userfaultfd kexec modules
        *(248, 249, 250),  # keys
        *(169, 167, 168, 179, 163, 153, 164, 227, 159, 305, 103, 170, 171, 172, 173),  # the machine itself
    ),
    "aarch64": (
        *(198, 203, 200, 201, 206, 211, 199),
        *(221, 281),
        *(129, 130, 138, 240, 117, 270, 271),
        *(194, 196, 195, 190, 193, 191, 192, 186, 189, 188, 187),
        *(180, 181, 182, 183, 184, 185),
        *(243, 269),
        *(140, 30, 118, 119, 274, 239, 238),
        *(52, 53, 54, 55, 5, 6, 7, 45),
        *(88,),
        *(26, 27, 262, 263),
        *(97, 268, 40, 39, 41, 51, 265),
        *(280, 241, 282, 104, 294, 105, 106, 273),
        *(217, 218, 219),
        *(142, 224, 225, 60, 89, 58, 170, 112, 171, 266, 116, 161, 162),
    ),
}
_REFUSED_EVERYWHERE = (
    *(424, 434, 438, 440, 448),  # other processes by descriptor
    *(425, 426, 427),  # io_uring, which makes calls that no filter sees
    *(428, 429, 430, 431, 432, 433, 442),  # mounts
    443,  # quotas by descriptor
    452,  # fchmodat2
)
MACHINES = tuple(_REFUSED)
_CLONE: Mapping[str, int] = {"x86_64": 56, "aarch64": 220}
_TGKILL: Mapping[str, int] = {"x86_64": 234, "aarch64": 131}
# Bounds and processors: of the own process, which is 0. C libraries set bounds through prlimit64.
_OWN_ALONE: Mapping[str, Sequence[int]] = {"x86_64": (302, 203), "aarch64": (261, 122)}
# F_SETOWN, F_SETSIG and F_SETOWN_EX have the kernel signal another process; F_SETLEASE and F_NOTIFY watch files.
_FCNTL: Mapping[str, int] = {"x86_64": 72, "aarch64": 25}
_FCNTL_REFUSED = (8, 10, 15, 1024, 1026)
# Of the hundreds of commands to devices, sockets and file systems (who gets signals, what a terminal reads, a disk
# that stands still) those that ask about a terminal, count what can be read, and set a descriptor's flags.
_IOCTL: Mapping[str, int] = {"x86_64": 16, "aarch64": 29}
_IOCTL_ALLOWED = (0x5401, 0x802C542A, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
_CLONE3 = 435
# Calls newer than those reviewed here. C libraries work without calls that do not exist.
_UNKNOWN = 463
_ARCHITECTURES: Mapping[str, int] = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
# Where the kernel shows a call: its number, the machine's kind, the lower halves of its first two arguments. Of a
# process, a command or flags the kernel itself looks at no more than that half.
_NUMBER, _ARCHITECTURE, _FIRST, _SECOND = 0, 4, 16, 24
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_CLONE_THREAD = 0x00010000


def build_filter(machine: str, pid: int) -> bytes:
    """The program for a process on a machine of this kind. It may start threads, and signal its own."""
    return b"".join(
        (
            _load(_ARCHITECTURE),
            _unless(_EQUAL, _ARCHITECTURES[machine], _KILL),
            _load(_NUMBER),
            *(_if_equal(number, _ERRNO | errno.EPERM) for number in (*_REFUSED[machine], *_REFUSED_EVERYWHERE)),
            # Its flags are in memory that a filter cannot read; on ENOSYS libraries fall back to clone.
            _if_equal(_CLONE3, _ERRNO | errno.ENOSYS),
            _if_first(_CLONE[machine], _ANY_BIT, _CLONE_THREAD),
            _if_first(_TGKILL[machine], _EQUAL, pid),
            *(_if_first(number, _EQUAL, 0) for number in _OWN_ALONE[machine]),
            _if_second(_FCNTL[machine], _FCNTL_REFUSED, _ERRNO | errno.EPERM, _ALLOW),
            _if_second(_IOCTL[machine], _IOCTL_ALLOWED, _ALLOW, _ERRNO | errno.EPERM),
            _encode_instruction(_AT_LEAST, _UNKNOWN, 0, 1) + _return(_ERRNO | errno.ENOSYS),
            _return(_ALLOW),
        )
    )


def _encode_instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """One instruction: what to do, how many of the next to skip in either case, the value."""
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _load(offset: int) -> bytes:
    return _encode_instruction(_LOAD, offset)


def _return(answer: int) -> bytes:
    return _encode_instruction(_RETURN, answer)


def _if_equal(value: int, answer: int) -> bytes:
    return _encode_instruction(_EQUAL, value, 0, 1) + _return(answer)


def _unless(test: int, value: int, answer: int) -> bytes:
    return _encode_instruction(test, value, 1, 0) + _return(answer)


def _if_first(number: int, test: int, value: int) -> bytes:
    """Allow a call if its first argument passes the test, and refuse it otherwise."""
    body = _load(_FIRST) + _unless(test, value, _ERRNO | errno.EPERM) + _return(_ALLOW)
    return _encode_instruction(_EQUAL, number, 0, len(body) // 8) + body


def _if_second(number: int, values: Sequence[int], listed: int, others: int) -> bytes:
    """Answer a call by its second argument: whether that is listed among the values."""
    body = _load(_SECOND) + b"".join(_if_equal(value, listed) for value in values) + _return(others)
    return _encode_instruction(_EQUAL, number, 0, len(body) // 8) + body
