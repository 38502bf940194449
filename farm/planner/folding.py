"""What the fold of the deltas means to the planner: charges, samples to learn from, jobs that started."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import text
from sqlalchemy.orm import Session

from farm.planner.measuring import actuals
from farm.planner.measuring.learn import Sample
from farm.queue.counts import deltas
from farm.queue.counts.deltas import Measured

ChargeKey = tuple[str, int, int | None]
"""(pool, owner, project)"""

# Of what a group renders and a worker is, as far as they are still there.
_KINDS = text(
    """
    SELECT n.number, k.family, g.checkpoint_id, g.pixels,
           g.pixel_steps / nullif(g.pixels, 0) AS steps, coalesce(w.device_class, w.device_name) AS device_class
    FROM unnest(CAST(:groups AS bigint[]), CAST(:workers AS bigint[]))
         WITH ORDINALITY AS n (group_id, worker_id, number)
    JOIN groups g ON g.id = n.group_id JOIN checkpoints k ON k.id = g.checkpoint_id
    JOIN workers w ON w.id = n.worker_id
    """
)


@dataclass(frozen=True)
class Folded:
    """What one fold of so many lines brought. `has_more`: the next one finds something too."""

    lines: int = 0
    charges: Mapping[ChargeKey, float] = field(default_factory=dict)
    samples: Sequence[Sample] = ()
    has_more: bool = False


def fold(session: Session) -> Folded:
    """Fold what was appended, so much at a time; note which jobs started, before that is forgotten."""
    actuals.note_starts(session)
    folded = deltas.fold(session)
    charges = {(c.pool, c.owner_id, c.project_id): c.seconds for c in folded.charges}
    return Folded(folded.lines, charges, _samples(session, folded.samples), folded.has_more)


def _samples(session: Session, measured: Sequence[Measured]) -> list[Sample]:
    if not measured:
        return []
    keys = {"groups": [m.group_id for m in measured], "workers": [m.worker_id for m in measured]}
    return [
        Sample(
            row.family,
            row.checkpoint_id,
            row.pixels,
            row.steps or 0.0,
            row.device_class,
            found.batch or found.images,
            found.render_seconds,
            found.load_seconds,
        )
        for row in session.execute(_KINDS, keys)
        for found in (measured[row.number - 1],)
    ]
