"""One simulated device: what it holds, what lies on it, and how long it takes."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from farm.bench.fleet.calls import ClaimedWork
from farm.bench.fleet.options import Timing
from farm.queue.claimed import Lease

_SPREAD = 0.05
"""Devices differ in speed by this part at most, so that they do not march in step."""

_MOST_PREFERRED = 32


@dataclass
class Device:
    """A device at work. `polls` counts how often in turn it found nothing and was not rung.

    `turn` and `beat` count what was put off or brought forward: older timers are void.
    """

    worker_id: int
    slots: int
    speed: float
    residents: list[int] = field(default_factory=list)
    held: dict[tuple[int, int], Lease] = field(default_factory=dict)
    is_busy: bool = False
    claims: int = 0
    polls: int = 0
    ends_at: float = 0.0
    turn: int = 0
    beat: int = 0

    @classmethod
    def make(cls, worker_id: int, slots: int, chance: random.Random) -> "Device":
        return cls(worker_id, slots, 1 + chance.uniform(-_SPREAD, _SPREAD))

    def start(self, work: ClaimedWork, timing: Timing) -> tuple[float, float]:
        """Take a batch; return how long its checkpoint loads and how long it renders, in seconds."""
        self.held |= {lease.key: lease for lease in work.leases}
        self.is_busy = True
        self.polls = 0
        loading = 0.0 if work.checkpoint_id in self.residents else timing.load_seconds
        self._note_use(work.checkpoint_id)
        return loading, timing.render_seconds(work.cost, len(work.leases)) * self.speed

    def preference(self) -> Sequence[int]:
        """The checkpoints to prefer in the next claim: those here but, as with a worker, now and then none."""
        self.claims += 1
        return self.residents if self.claims % _MOST_PREFERRED else ()

    def drop(self, leases: Iterable[Lease]) -> None:
        """Give up leases, those that were published or lost."""
        for lease in leases:
            self.held.pop(lease.key, None)

    def _note_use(self, checkpoint_id: int) -> None:
        """The one used last stands first; what does not fit any more goes."""
        others = [other for other in self.residents if other != checkpoint_id]
        self.residents = [checkpoint_id, *others][: self.slots]
