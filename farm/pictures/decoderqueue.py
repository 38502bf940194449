"""Which picture is decoded next, and which is refused at once: decisions over the pictures that wait and run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_AT_ONCE = 2
# Larger pictures leave one process to smaller ones. In pixels, as all costs here.
_HEAVY = 16_000_000
# A waiting picture holds a thread of the portal, and most threads are for other requests. More are refused for now,
# and for one user as soon as they would delay others.
_MOST_WAITING = 6
_MOST_AT_WORK_OF_USER = 4
_MOST_OF_USER = 256_000_000

# Photographs take 0.13 s of a processor for a million pixels, from opening them to the finished PNG.
_SECONDS_FOR_PIXEL = 0.4 / 1_000_000
_LEAST_SECONDS = 3.0
# A shared processor gives a process less than all of its time.
_PATIENCE = 4.0

_BYTES_FOR_PIXEL = 24
_LEAST_BYTES = 512 * 2**20


@dataclass(frozen=True, eq=False)
class QueuedPicture:
    """A picture that waits for a process, or has one: its user, and its cost in pixels."""

    user: str
    cost: int

    @property
    def is_heavy(self) -> bool:
        return self.cost > _HEAVY

    @property
    def seconds(self) -> float:
        """How much of a processor's time it may take."""
        return _LEAST_SECONDS + self.cost * _SECONDS_FOR_PIXEL

    @property
    def patience_seconds(self) -> float:
        """How long its process may take by the clock."""
        return _LEAST_SECONDS + self.seconds * _PATIENCE

    @property
    def memory_bytes(self) -> int:
        return _LEAST_BYTES + self.cost * _BYTES_FOR_PIXEL


def choose_next(
    waiting: Sequence[QueuedPicture], running: Sequence[QueuedPicture], served: Mapping[str, int]
) -> QueuedPicture | None:
    """The picture to decode now, if any: among users with the fewest running, that of the one served longest ago.

    All processes but one may be kept busy by large pictures; the last is for small ones.
    """
    if len(running) >= _AT_ONCE:
        return None
    is_full = sum(picture.is_heavy for picture in running) >= _AT_ONCE - 1
    able = [picture for picture in waiting if not (picture.is_heavy and is_full)]
    return min(
        able,
        key=lambda picture: (sum(other.user == picture.user for other in running), served.get(picture.user, 0)),
        default=None,
    )


def is_over_limit(
    picture: QueuedPicture, waiting: Sequence[QueuedPicture], running: Sequence[QueuedPicture]
) -> bool:
    """Whether a picture is refused at once: too many wait, or its user has enough waiting and running."""
    others = [other.cost for other in (*waiting, *running) if other.user == picture.user]
    is_full = len(waiting) >= _MOST_WAITING or len(others) >= _MOST_AT_WORK_OF_USER
    return is_full or (bool(others) and sum(others) + picture.cost > _MOST_OF_USER)
