"""What was used last, up to a number of things."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Bounded(Generic[K, V]):
    """Keeps so many values; the one that was not used for longest goes first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: OrderedDict[K, V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def clear(self) -> None:
        self._kept.clear()

    def drop(self, key: K) -> None:
        self._kept.pop(key, None)

    def values(self) -> Sequence[V]:
        """All that is kept, the least recently used first."""
        return list(self._kept.values())

    def take(self, key: K, make: Callable[[], V]) -> V:
        """The value of the key, made if it is not kept. What raises is not kept."""
        if key not in self._kept:
            self._kept[key] = make()
        self._kept.move_to_end(key)
        while len(self._kept) > self._limit:
            self._kept.popitem(last=False)
        return self._kept[key]
