"""Counts refused keys by address: which are logged, and when their answers are delayed.

No key can be guessed: it holds 256 random bits. But tries cost the database a query each, and operators of the farm
should see them. A valid key is never counted, even if others behind its address send invalid ones.
"""

from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock

_WINDOW_SECONDS = 60.0
_MOST_TRIES = 10
_MOST_ADDRESSES = 10_000


@dataclass(frozen=True)
class RefusalVerdict:
    """What to do about one more refusal. `wait_seconds` is the rest of the address's minute, None if few."""

    count: int
    wait_seconds: int | None

    @property
    def is_logged(self) -> bool:
        return self.count <= _MOST_TRIES

    @property
    def is_last_logged(self) -> bool:
        return self.count == _MOST_TRIES


class Refusals:
    """Counts a minute's refusals of each address; only of the addresses that were refused last."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._tries: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def count(self, address: str, now: float) -> RefusalVerdict:
        """Count one more refusal, at `now` of a monotonic clock."""
        with self._lock:
            began, count = self._tries.pop(address, (now, 0))
            if now - began >= _WINDOW_SECONDS:
                began, count = now, 0
            self._tries[address] = (began, count + 1)
            if len(self._tries) > _MOST_ADDRESSES:
                self._tries.popitem(last=False)
        rest = began + _WINDOW_SECONDS - now
        return RefusalVerdict(count + 1, int(rest) + 1 if count >= _MOST_TRIES else None)
