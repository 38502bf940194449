"""How many connections and how many bytes an address may hold, and which connection makes room for a new one.

A connection waits while its request is not whole, or its answer not read: it costs its owner nothing to keep it so.
When an address has as many as it may, the one of its own that has waited longest is closed for the new one. So a
flood of half-sent requests pushes itself out, and an honest request of the same address, which is whole within
milliseconds, is answered.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Full(Exception):
    """This address holds as much as it may, and all of it is in use."""


class Connection(Protocol):
    """What the crowd is made of."""

    share: str

    def push_out(self) -> None:
        """Close it at once."""


class Crowd:
    """The open connections: those at work, and those that wait, longest first."""

    def __init__(self, most_per_share: int, most: int) -> None:
        self._most_per_share = most_per_share
        self._most = most
        self._counts: Counter[str] = Counter()
        self._open: set[Connection] = set()
        self._waiting: dict[str, dict[Connection, None]] = {}

    def enter(self, connection: Connection, *, bounded: bool = True) -> None:
        """Take it in. `bounded` is False for a proxy's: it speaks for many addresses. Raises Full."""
        if bounded and self._counts[connection.share] >= self._most_per_share:
            self._make_room(connection.share)
        elif len(self._open) >= self._most:
            self._make_room(self._counts.most_common(1)[0][0])
        self._open.add(connection)
        self._counts[connection.share] += 1
        self.wait(connection)

    def wait(self, connection: Connection) -> None:
        """From now on it may be pushed out."""
        if connection in self._open:
            self._waiting.setdefault(connection.share, {})[connection] = None

    def work(self, connection: Connection) -> None:
        """Its request is whole: it may not be pushed out until it is answered."""
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
            raise Full
        self.leave(oldest)
        oldest.push_out()


class Shares:
    """How much of one thing each address holds now."""

    def __init__(self) -> None:
        self._held: Counter[str] = Counter()

    @contextmanager
    def hold(self, share: str, amount: int, *, most: int) -> Iterator[None]:
        """Hold that much more meanwhile. Raises Full."""
        if self._held[share] + amount > most:
            raise Full
        self._held[share] += amount
        try:
            yield
        finally:
            self._held[share] -= amount
            if not self._held[share]:
                del self._held[share]
