"""The leases a worker holds now, shared between its render loop, its deliveries and its heartbeat."""

import threading
from collections.abc import Iterable

from farm.queue.claimed import Lease


class Holdings:
    """A thread-safe set of leases. A lease that is no longer in it was given up, or lost."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[tuple[int, int], Lease] = {}

    def take(self, leases: Iterable[Lease]) -> None:
        with self._lock:
            self._held |= {_key(lease): lease for lease in leases}

    def drop(self, leases: Iterable[Lease]) -> list[Lease]:
        """Forget leases that were finished, handed back or lost; return those that were still held."""
        with self._lock:
            return [lease for lease in leases if self._held.pop(_key(lease), None)]

    def holds(self, lease: Lease) -> bool:
        with self._lock:
            return _key(lease) in self._held

    def all(self) -> list[Lease]:
        with self._lock:
            return list(self._held.values())


def _key(lease: Lease) -> tuple[int, int]:
    return lease.task_id, lease.attempt
