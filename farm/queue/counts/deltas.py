"""Folds appended deltas into the lines they belong to, and hands on what they say of charges and speeds.

Done again and again by one process, mostly; two at once pass by each other's lines.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from farm.queue import lifecycle
from farm.queue.counts import lines, shares
from farm.queue.counts.lines import STATUSES, LineKey

MOST_LINES = 500


@dataclass(frozen=True)
class Charge:
    """GPU-seconds that an owner was charged in a pool, or got back where they are negative."""

    owner_id: int
    project_id: int | None
    pool: str
    seconds: float


@dataclass(frozen=True)
class Measured:
    """What a batch of a group took on a worker. `images` of it were published together."""

    worker_id: int | None
    group_id: int | None
    images: int
    batch: int | None
    render_seconds: float | None
    load_seconds: float | None


@dataclass(frozen=True)
class Folded:
    """What was folded: the deltas of so many `lines`; whether more wait; what they say of charges and speeds."""

    lines: int
    has_more: bool
    charges: Sequence[Charge]
    samples: Sequence[Measured]


NOTHING = Folded(0, False, (), ())

# The oldest first, so that a line which gets deltas all the time holds up no other. A probe of the key for each of
# them: joined, Postgres would rather read all lines of the farm.
_WAITING = text(
    """
    SELECT d.job_id, d.batch_key,
           (SELECT true FROM counters c WHERE c.job_id = d.job_id AND c.batch_key = d.batch_key) AS stands
    FROM (SELECT job_id, batch_key FROM deltas GROUP BY job_id, batch_key ORDER BY min(id) LIMIT :limit) d
    """
)
_TAKE = text(
    f"""
    DELETE FROM deltas d USING {lines.KEYS}
    WHERE d.job_id = k.job_id AND d.batch_key = k.batch_key
    RETURNING d.job_id, d.batch_key, {", ".join(f"d.{status}" for status in STATUSES)}, d.charged_seconds,
              d.worker_id, d.images, d.batch, d.render_seconds, d.load_seconds
    """
)


def fold(session: Session, limit: int = MOST_LINES) -> Folded:
    """Fold the deltas of at most so many lines.

    1. Lines whose job was deleted have nothing left to be counted: their deltas are deleted.
    2. The others are locked in the order of their keys, without those that somebody else holds.
    3. Their deltas are taken away and added to their rows.
    4. Jobs of which nothing is left are finished: two publishes that each saw the other's task still running.
    5. Owners are charged, in the order of their ids.
    """
    waiting = session.execute(_WAITING, {"limit": limit}).all()
    if not waiting:
        return NOTHING
    _take(session, [LineKey(row.job_id, row.batch_key) for row in waiting if not row.stands])
    held = lines.lock_free(session, [LineKey(row.job_id, row.batch_key) for row in waiting if row.stands])
    taken = _take(session, held)
    standing = lines.add(session, _counts(taken))
    lifecycle.finish_what_is_done(session, {line.job_id for line, row in standing.items() if not row.left})
    charges = _charges(taken, standing)
    shares.charge(session, _by_owner(charges))
    return Folded(len(held), len(waiting) == limit, charges, _samples(taken, standing))


def _take(session: Session, keys: Sequence[LineKey]) -> Sequence[Row[Any]]:
    return session.execute(_TAKE, lines.arrays(keys)).all() if keys else ()


def _counts(taken: Iterable[Row[Any]]) -> Mapping[LineKey, Mapping[str, int]]:
    counts: dict[LineKey, Counter[str]] = defaultdict(Counter)
    for row in taken:
        for status in STATUSES:
            counts[LineKey(row.job_id, row.batch_key)][status] += getattr(row, status)
    return counts


def _charges(taken: Iterable[Row[Any]], standing: Mapping[LineKey, lines.Standing]) -> Sequence[Charge]:
    seconds: dict[tuple[int, int | None, str], float] = defaultdict(float)
    for row in taken:
        line = standing[LineKey(row.job_id, row.batch_key)]
        seconds[line.owner_id, line.project_id, line.pool] += row.charged_seconds
    return [Charge(*whose, charged) for whose, charged in seconds.items() if charged]


def _by_owner(charges: Iterable[Charge]) -> Mapping[int, float]:
    seconds: dict[int, float] = defaultdict(float)
    for charge in charges:
        seconds[charge.owner_id] += charge.seconds
    return seconds


def _samples(taken: Iterable[Row[Any]], standing: Mapping[LineKey, lines.Standing]) -> Sequence[Measured]:
    return [
        Measured(
            row.worker_id,
            standing[LineKey(row.job_id, row.batch_key)].group_id,
            *(row.images, row.batch, row.render_seconds, row.load_seconds),
        )
        for row in taken
        if row.images is not None
    ]
