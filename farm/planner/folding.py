"""What the fold of the deltas means to the planner: charges, samples to learn from, jobs that started."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from farm.planner.learn import Sample

ChargeKey = tuple[str, int, int | None]
"""(pool, owner, project)"""


@dataclass(frozen=True)
class Folded:
    """What one fold brought. `is_full`: there may be more to fold."""

    charges: Mapping[ChargeKey, float] = field(default_factory=dict)
    samples: Sequence[Sample] = ()
    started: frozenset[int] = frozenset()
    is_full: bool = False


def fold(session: Session) -> Folded:
    return Folded()
