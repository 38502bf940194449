"""Which user of this machine is at the other end of a connection over loopback.

On loopback the portal asks for no login, and every user of a machine can connect there. The kernel lists the user
of each socket: /proc/net/tcp and tcp6, as proc(5) describes them.
"""

import os
import pwd
import socket
import struct
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from farm.config import Settings
from farm.errors import ConfigError
from farm.network.addresses import split_list

ConnectionEnds = tuple[tuple[str, int], tuple[str, int]]

_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_ANYBODY = "*"
_LOCAL, _REMOTE, _UID, _INODE = 1, 2, 7, 9


def can_identify_peers() -> bool:
    """Whether this system shows the user of a connection."""
    return _TABLES[0].exists()


def allowed_uids(settings: Settings) -> frozenset[int] | None:
    """The users that count as `local`: the portal's own, root, and FARM_LOCAL_USERS; None for all users.

    Raises ConfigError for an unknown user.
    """
    names = split_list(settings.local_users)
    if _ANYBODY in names or not can_identify_peers():
        return None
    return frozenset({os.geteuid(), 0, *map(_parse_uid, names)})


def find_peer_uid(ends: ConnectionEnds) -> int | None:
    """The user whose socket is the client's end; None for one that is closed, or not of this machine."""
    for table in _TABLES:
        try:
            text = table.read_text()
        except OSError:
            continue
        if (uid := find_uid(text, ends)) is not None:
            return uid
    return None


def find_uid(table: str, ends: ConnectionEnds) -> int | None:
    """The user of the client's end in a table of the kernel's.

    A socket that its process has closed has no inode any more, and stands there as root's.
    """
    client, server = map(_spell_end, ends)
    for line in table.splitlines()[1:]:
        fields = line.split()
        if fields[_LOCAL] in client and fields[_REMOTE] in server and fields[_INODE] != "0":
            return int(fields[_UID])
    return None


def _spell_end(end: tuple[str, int]) -> frozenset[str]:
    """How the tables write an end: in words of 32 bits; an address of IPv4 also as a socket of IPv6 has it."""
    address, port = ip_address(end[0]), end[1]
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or address
    packed = [address.packed]
    if isinstance(address, IPv4Address):
        packed.append(bytes(10) + b"\xff\xff" + address.packed)
    return frozenset(f"{_format_words(one)}:{port:04X}" for one in packed)


def _format_words(packed: bytes) -> str:
    return "".join(f"{word:08X}" for word in struct.unpack(f"={len(packed) // 4}I", packed))


def _parse_uid(name: str) -> int:
    if name.isdecimal():
        return int(name)
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        raise ConfigError(f"FARM_LOCAL_USERS: there is no user {name!r} on {socket.gethostname()}.") from None
