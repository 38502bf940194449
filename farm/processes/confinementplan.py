"""How far a process can be confined on its kernel. Decided here, carried out in `farm.processes.confinement`."""

from collections.abc import Sequence
from dataclasses import dataclass

from farm.processes.kernel import KernelFeatures
from farm.processes.syscalls import MACHINES

EXECUTE, WRITE_FILE, READ_FILE, READ_FOLDER = 1 << 0, 1 << 1, 1 << 2, 1 << 3
REMOVE_FOLDER, REMOVE_FILE, MAKE_FOLDER, MAKE_FILE = 1 << 4, 1 << 5, 1 << 7, 1 << 8
TRUNCATE = 1 << 14

READ = READ_FILE | READ_FOLDER
WRITE = READ | WRITE_FILE | TRUNCATE | REMOVE_FOLDER | REMOVE_FILE | MAKE_FOLDER | MAKE_FILE
OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE
"""The rights that mean something for a file; Landlock refuses others for it."""

# All rights that a version of Landlock knows: each adds to the one before.
_FILE_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
_NETWORK_SINCE, _TCP = 4, 0b11
_SCOPES_SINCE, _SOCKETS_AND_SIGNALS = 6, 0b11

NO_FILES = (
    "The process that read it could reach every file that its user can: this system has no Landlock "
    "(Linux 5.13 or newer, and not every container)."
)
NO_CALLS = (
    "The process that read it could start programs, and perhaps reach the network: this system filters no system "
    "calls (seccomp, on x86-64 and 64-bit ARM)."
)


@dataclass(frozen=True)
class ConfinementPlan:
    """The rights that Landlock removes, 0 for none, and the machine whose calls are filtered, None for no filter.

    `gaps` are sentences for people: what is not prevented.
    """

    files: int = 0
    network: int = 0
    scoped: int = 0
    version: int = 0
    calls: str | None = None
    gaps: Sequence[str] = ()


def plan_confinement(features: KernelFeatures) -> ConfinementPlan:
    """The strictest confinement that the kernel supports."""
    known = max((version for version in _FILE_RIGHTS if version <= features.landlock), default=0)
    filters = features.filters and features.machine in MACHINES
    return ConfinementPlan(
        files=_FILE_RIGHTS[known] if known else 0,
        network=_TCP if features.landlock >= _NETWORK_SINCE else 0,
        scoped=_SOCKETS_AND_SIGNALS if features.landlock >= _SCOPES_SINCE else 0,
        version=features.landlock,
        calls=features.machine if filters else None,
        gaps=[*([] if known else [NO_FILES]), *([] if filters else [NO_CALLS])],
    )
