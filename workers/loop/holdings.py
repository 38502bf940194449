"""The leases a worker holds now, shared between its render loop, its deliveries and its heartbeat."""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from farm.queue.claimed import AttemptKey, Lease

_MOST_TRIES = 10
"""So often a worker looks for an image that it could not take over: once a turn."""


class Holdings:
    """A thread-safe set of leases. A lease that is no longer in it was given up, or lost."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[AttemptKey, Lease] = {}
        self._is_adopting = False
        self._left: dict[AttemptKey, int] = {}

    def take(self, leases: Iterable[Lease]) -> None:
        with self._lock:
            self._held |= {lease.key: lease for lease in leases}

    def drop(self, leases: Iterable[Lease]) -> list[Lease]:
        """Forget leases that were finished, handed back or lost; return those that were still held."""
        with self._lock:
            return [lease for lease in leases if self._held.pop(lease.key, None)]

    def holds(self, lease: Lease) -> bool:
        with self._lock:
            return lease.key in self._held

    def all(self) -> list[Lease]:
        with self._lock:
            return list(self._held.values())

    @contextmanager
    def adopting(self) -> Iterator[None]:
        """Meanwhile images of other workers are taken over, and the record may name attempts not taken here yet."""
        self._set_adopting(True)
        try:
            yield
        finally:
            self._set_adopting(False)

    def overlooked(self, running: Iterable[AttemptKey]) -> set[AttemptKey]:
        """Those of the attempts that run by the record and are not held; none while images are taken over.

        `running` must have been read before: what is taken over meanwhile is held by now, or being adopted.
        """
        with self._lock:
            if self._is_adopting:
                return set()
            waiting = {key for key, tries in self._left.items() if tries < _MOST_TRIES}
            return set(running) - self._held.keys() - waiting

    def note_left(self, keys: Iterable[AttemptKey] | None) -> None:
        """Images of these attempts could not be taken over, though they may be this worker's by the record.

        They are tried again, so for some tries they are not overlooked. None: nobody could look; the ones before
        were not taken over either.
        """
        with self._lock:
            self._left = {key: self._left.get(key, 0) + 1 for key in (self._left if keys is None else keys)}

    def _set_adopting(self, is_adopting: bool) -> None:
        with self._lock:
            self._is_adopting = is_adopting
