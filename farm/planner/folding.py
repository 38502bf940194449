"""The fold of what claims and publishes appended: charges owners, brings samples to learn from, notes starts.

Nothing else may fold: who did would drop what the deltas say.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from farm.crashpoints import reach
from farm.db.connection import PASSING, Database
from farm.planner.measuring import actuals
from farm.planner.measuring.learn import Sample
from farm.queue.counts import deltas
from farm.queue.counts.deltas import Measured, Waiting
from farm.queue.counts.lines import LineKey
from farm.queue.counts.shares import Account

log = structlog.get_logger(__name__)

_ASIDE_SECONDS = 60.0
"""How long a line that could not be folded is left alone."""

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
    """What a fold of so many lines brought: GPU-seconds by account, which are stored, and samples, which are not.

    `has_more`: the next one finds something too.
    """

    lines: int = 0
    charges: Mapping[Account, float] = field(default_factory=dict)
    samples: Sequence[Sample] = ()
    has_more: bool = False


class Folding:
    """Folds so much at a time. A line that cannot be folded holds up no other: it is set aside for a while."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._aside: set[LineKey] = set()
        self._aside_until = 0.0

    def fold(self) -> Folded:
        """Fold the oldest deltas. Raises SQLAlchemyError in an outage, or while others hold what it needs."""
        if time.monotonic() >= self._aside_until:
            self._aside.clear()
        try:
            return self._fold(None)
        except PASSING:
            raise
        except Exception as error:
            log.warning("Deltas could not be folded together.", error=_said(error))
            return self._fold_one_by_one()

    def _fold(self, waiting: Waiting | None) -> Folded:
        with self._database.begin() as session:
            folded = fold(session, waiting or deltas.find_waiting(session, without=self._aside))
            if folded.lines:
                reach("keeper.folding")
        if folded.lines:
            reach("keeper.folded")
        return folded

    def _fold_one_by_one(self) -> Folded:
        with self._database.begin() as session:
            waiting = deltas.find_waiting(session, without=self._aside)
        parts = [part for one in waiting.each() if (part := self._fold_or_set_aside(one))]
        return _join(parts, has_more=waiting.has_more)

    def _fold_or_set_aside(self, one: Waiting) -> Folded | None:
        try:
            return self._fold(one)
        except PASSING:
            raise
        except Exception as error:
            [line] = one.ids
            self._aside.add(line)
            self._aside_until = time.monotonic() + _ASIDE_SECONDS
            log.error("The counts of a line cannot be folded.", **line._asdict(), error=_said(error))
            return None


def fold(session: Session, waiting: Waiting) -> Folded:
    """Fold what waits; note which jobs started, before that is forgotten."""
    folded = deltas.fold(session, waiting)
    actuals.note_starts(session, folded.starts)
    return Folded(folded.lines, folded.charges, _samples(session, folded.samples), folded.has_more)


def _join(parts: Iterable[Folded], *, has_more: bool) -> Folded:
    charges: dict[Account, float] = {}
    samples: list[Sample] = []
    count = 0
    for part in parts:
        count += part.lines
        samples += part.samples
        for account, seconds in part.charges.items():
            charges[account] = charges.get(account, 0.0) + seconds
    return Folded(count, charges, samples, has_more)


def _said(error: Exception) -> str:
    return str(error.args[0]) if isinstance(error, SQLAlchemyError) and error.args else repr(error)


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
            # A second pass, of another size, leaves a fraction of a step.
            is_plain=found.is_from_text and (row.steps or 0.0).is_integer(),
        )
        for row in session.execute(_KINDS, keys)
        for found in (measured[row.number - 1],)
    ]
