"""How many connections and how many bytes an address may hold, and which connection makes room for a new one.

A connection waits while its request is incomplete, or its answer not read: that costs the client nothing. When an
address has as many as it may, the one of its own that has waited longest is closed for the new one. So a flood of
half-sent requests closes its own connections, and an honest request of the same address, which is complete within
milliseconds, is answered.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class AddressFull(Exception):
    """This address holds as much as it may, and all of it is in use."""


class Connection(Protocol):
    """The part of a connection that is used here."""

    share: str

    def close_now(self) -> None:
        """Close it at once."""


class OpenConnections:
    """The open connections: those with a complete request, and those that wait, longest first."""

    def __init__(self, most_per_share: int, most: int) -> None:
        self._most_per_share = most_per_share
        self._most = most
        self._counts: Counter[str] = Counter()
        self._open: set[Connection] = set()
        self._waiting: dict[str, dict[Connection, None]] = {}

    def enter(self, connection: Connection, *, bounded: bool = True) -> None:
        """Add a connection. `bounded` is False for a proxy's, which has many clients. Raises AddressFull."""
        if bounded and self._counts[connection.share] >= self._most_per_share:
            self._make_room(connection.share)
        elif len(self._open) >= self._most:
            self._make_room(self._counts.most_common(1)[0][0])
        self._open.add(connection)
        self._counts[connection.share] += 1
        self.wait(connection)

    def wait(self, connection: Connection) -> None:
        """From now on the connection may be closed for a new one."""
        if connection in self._open:
            self._waiting.setdefault(connection.share, {})[connection] = None

    def work(self, connection: Connection) -> None:
        """Its request is complete: it may not be closed until it is answered."""
        self._waiting.get(connection.share, {}).pop(connection, None)

    def leave(self, connection: Connection) -> None:
        if connection not in self._open:
            return
        self.work(connection)
        self._open.remove(connection)
        self._counts[connection.share] -= 1
        if not self._counts[connection.share]:
            del self._counts[connection.share]
            self._waiting.pop(connection.share, None)

    def _make_room(self, share: str) -> None:
        oldest = next(iter(self._waiting.get(share, {})), None)
        if oldest is None:
            raise AddressFull
        self.leave(oldest)
        oldest.close_now()


class AddressUsage:
    """How much of one thing each address holds now."""

    def __init__(self) -> None:
        self._held: Counter[str] = Counter()

    @contextmanager
    def hold(self, share: str, amount: int, *, most: int) -> Iterator[None]:
        """Count that much more meanwhile. Raises AddressFull."""
        if self._held[share] + amount > most:
            raise AddressFull
        self._held[share] += amount
        try:
            yield
        finally:
            self._held[share] -= amount
            if not self._held[share]:
                del self._held[share]
