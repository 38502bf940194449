"""How slow is too slow: each 64 KiB that arrive or leave have so many seconds, and so has what is less.

An idle timeout would not do: a byte a second is never idle. A fixed end would not do either: a picture of 32 MiB
over a slow line takes minutes, and is honest. And who was quick at first has earned no hours for the rest.
"""

import asyncio
from dataclasses import dataclass, replace

STRETCH_BYTES = 64 * 2**10


@dataclass(frozen=True)
class Pace:
    """Of a transfer: when, on the loop's clock, its present stretch began, and what has moved in that."""

    seconds: float
    began: float
    moved_bytes: int = 0

    @classmethod
    def from_now(cls, seconds: float) -> "Pace":
        return cls(seconds, asyncio.get_running_loop().time())

    def after(self, moved_bytes: int) -> "Pace":
        """Once so much more has moved: the same stretch, or from now on the next."""
        moved_bytes += self.moved_bytes
        return (
            self.from_now(self.seconds) if moved_bytes >= STRETCH_BYTES else replace(self, moved_bytes=moved_bytes)
        )

    def limit(self) -> asyncio.Timeout:
        """Raises TimeoutError in its block once the stretch has taken too long."""
        return asyncio.timeout_at(self.began + self.seconds)
