"""What a simulated fleet measures of itself, and the figures that are made of it."""

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields


@dataclass
class Samples:
    """What one process of devices saw. All in seconds; `late` is how long a claim waited for its turn here."""

    claims: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    empty_claims: list[float] = field(default_factory=list)
    publishes: list[float] = field(default_factory=list)
    beats: list[float] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    render_seconds: float = 0.0
    load_seconds: float = 0.0
    loads: int = 0
    published: int = 0
    lost: int = 0
    races: int = 0
    errors: list[str] = field(default_factory=list)
    first_claim_at: float = math.inf
    last_publish_at: float = 0.0
    cpu_seconds: float = 0.0

    @classmethod
    def merge(cls, parts: Iterable["Samples"]) -> "Samples":
        """All that several processes saw."""
        merged = cls()
        for part in parts:
            for name in _SUMS:
                setattr(merged, name, getattr(merged, name) + getattr(part, name))
            merged.first_claim_at = min(merged.first_claim_at, part.first_claim_at)
            merged.last_publish_at = max(merged.last_publish_at, part.last_publish_at)
        return merged

    @property
    def seconds(self) -> float:
        """From the first claim to the last publish."""
        return self.last_publish_at - self.first_claim_at

    def note_claim(self, seconds: float, *, late: float) -> None:
        """A claim that brought work."""
        self.first_claim_at = min(self.first_claim_at, time.time() - seconds)
        self.claims.append(seconds)
        self.late.append(late)


_SUMS = [field.name for field in fields(Samples) if not field.name.endswith("_at")]


def quantile(values: Sequence[float], part: float) -> float:
    """The smallest value that so large a part of the values does not exceed; nan of none."""
    if not values:
        return math.nan
    return sorted(values)[min(len(values) - 1, max(0, math.ceil(part * len(values)) - 1))]
