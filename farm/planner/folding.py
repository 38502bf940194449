"""What the fold of the deltas means to the planner: charges, samples to learn from, jobs that started."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from farm.planner import actuals
from farm.planner.learn import Sample

ChargeKey = tuple[str, int, int | None]
"""(pool, owner, project)"""


@dataclass(frozen=True)
class Folded:
    """What one fold brought. `has_more`: the next one finds something too."""

    charges: Mapping[ChargeKey, float] = field(default_factory=dict)
    samples: Sequence[Sample] = ()
    has_more: bool = False


def fold(session: Session) -> Folded:
    """Fold what was appended; note which jobs started, before that is forgotten."""
    actuals.note_starts(session)
    return Folded()
