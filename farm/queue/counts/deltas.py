"""Folds appended deltas into the lines they belong to, and hands on what they say of charges, speeds and starts.

Called by `farm.planner.folding` alone, again and again, mostly by one process; two at once pass by each other's
lines.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from farm.queue import lifecycle
from farm.queue.counts import lines, shares
from farm.queue.counts.lines import STATUSES, LineKey
from farm.queue.counts.shares import Account

MOST_LINES = 500
MOST_DELTAS = 20_000
"""A fold takes no more than so many: a pile of any height is folded part by part, each in a short transaction."""
MOST_SAMPLES = 2_000


@dataclass(frozen=True)
class Measured:
    """What a batch of a group took on a worker. `images` of it were published together.

    `is_from_text`: from nothing else, no picture.
    """

    worker_id: int | None
    group_id: int | None
    images: int
    batch: int | None
    render_seconds: float | None
    load_seconds: float | None
    is_from_text: bool


@dataclass(frozen=True)
class Waiting:
    """The oldest deltas: their ids, by line, and those of lines that are gone; whether more wait."""

    ids: Mapping[LineKey, Sequence[int]]
    gone: Sequence[int] = ()
    has_more: bool = False

    def each(self) -> Iterator["Waiting"]:
        """Line by line."""
        for line, ids in self.ids.items():
            yield Waiting({line: ids})


@dataclass(frozen=True)
class Folded:
    """What was folded: the deltas of so many `lines`; whether more wait; what they say.

    `charges` are GPU-seconds, negative where some were given back; `starts` the first deltas of jobs, by their ids.
    """

    lines: int
    has_more: bool
    charges: Mapping[Account, float] = field(default_factory=dict)
    samples: Sequence[Measured] = ()
    starts: Mapping[int, datetime] = field(default_factory=dict)


NOTHING = Folded(0, False)

# The lines with the oldest first, so that a line which gets deltas all the time holds up no other; and of each its
# oldest, so that no delta is folded before one that it builds on. Each line has an equal part of the most: in a
# pile that grew for long the oldest are mostly of different lines. A probe of the key for each line: joined,
# Postgres would rather read all lines of the farm.
_WAITING = text(
    f"""
    WITH oldest AS MATERIALIZED (
        SELECT job_id, batch_key, min(id) AS first
        FROM (SELECT id, job_id, batch_key FROM deltas
              WHERE (job_id, batch_key) NOT IN (SELECT k.job_id, k.batch_key FROM {lines.KEYS})
              ORDER BY id LIMIT :most) d
        GROUP BY job_id, batch_key ORDER BY min(id) LIMIT :limit
    )
    SELECT o.job_id, o.batch_key, d.ids,
           (SELECT true FROM counters c WHERE c.job_id = o.job_id AND c.batch_key = o.batch_key) AS stands
    FROM oldest o CROSS JOIN LATERAL (
        SELECT array_agg(id) AS ids
        FROM (SELECT id FROM deltas WHERE job_id = o.job_id AND batch_key = o.batch_key ORDER BY id
              LIMIT (SELECT greatest(1, :most / greatest(1, count(*))) FROM oldest)) own
    ) d
    ORDER BY o.first
    """
)
_MEASURED = text(
    f"""
    SELECT d.worker_id, c.group_id, d.images, d.batch, d.render_seconds, d.load_seconds,
           coalesce((SELECT mode = 'txt2img' FROM jobs WHERE id = d.job_id), false) AS is_from_text
    FROM deltas d LEFT JOIN counters c USING (job_id, batch_key)
    WHERE d.id = ANY(:ids) AND d.images IS NOT NULL ORDER BY d.id DESC LIMIT {MOST_SAMPLES}
    """
)
_TAKE = text(
    f"""
    WITH taken AS (DELETE FROM deltas WHERE id = ANY(:ids) RETURNING *)
    SELECT job_id, batch_key, {", ".join(f"sum({status})::integer AS {status}" for status in STATUSES)},
           sum(charged_seconds) AS charged_seconds, min(created_at) AS since
    FROM taken GROUP BY job_id, batch_key
    """
)
_DELETE = text("DELETE FROM deltas WHERE id = ANY(:ids)")


def find_waiting(session: Session, limit: int = MOST_LINES, *, without: Collection[LineKey] = ()) -> Waiting:
    """The oldest deltas of at most so many lines, and not of those that are named."""
    found = session.execute(_WAITING, {"limit": limit, "most": MOST_DELTAS, **lines.arrays(without)}).all()
    ids = {LineKey(row.job_id, row.batch_key): row.ids for row in found if row.stands}
    gone = [id_ for row in found if not row.stands for id_ in row.ids]
    part = max(1, MOST_DELTAS // max(1, len(found)))
    has_more = len(found) == limit or any(len(row.ids) == part for row in found)
    return Waiting(ids, gone, has_more)


def fold(session: Session, waiting: Waiting) -> Folded:
    """Fold what was found to wait.

    1. Lines whose job was deleted have nothing left to be counted: their deltas are deleted.
    2. The others are locked in the order of their keys, without those that somebody else holds.
    3. Their deltas are taken away and added to their rows.
    4. Jobs of which nothing is left are finished: two publishes that each saw the other's task still running.
    5. Owners are charged, in the order of their ids.
    """
    if waiting.gone:
        session.execute(_DELETE, {"ids": waiting.gone})
    held = lines.lock_free(session, waiting.ids.keys())
    if not held:
        return Folded(0, waiting.has_more)
    ids = {"ids": [id_ for line in held for id_ in waiting.ids[line]]}
    samples = [Measured(*row) for row in session.execute(_MEASURED, ids)]
    taken = session.execute(_TAKE, ids).all()
    standing = lines.add(
        session, {_line(row): {status: getattr(row, status) for status in STATUSES} for row in taken}
    )
    ended = {line.job_id for line, row in standing.items() if not row.left}
    lifecycle.finish_what_is_done(session, lifecycle.about_to_end(session, ended))
    charges = _charges(taken, standing)
    shares.charge(session, charges)
    return Folded(len(held), waiting.has_more, charges, samples, _starts(taken))


def _line(row: Row[Any]) -> LineKey:
    return LineKey(row.job_id, row.batch_key)


def _charges(taken: Sequence[Row[Any]], standing: Mapping[LineKey, lines.Standing]) -> Mapping[Account, float]:
    seconds: dict[Account, float] = {}
    for row in taken:
        line = standing[_line(row)]
        account = Account(line.pool, line.owner_id, line.project_id)
        seconds[account] = seconds.get(account, 0.0) + row.charged_seconds
    return {account: charged for account, charged in seconds.items() if charged}


def _starts(taken: Sequence[Row[Any]]) -> Mapping[int, datetime]:
    starts: dict[int, datetime] = {}
    for row in taken:
        starts[row.job_id] = min(starts.get(row.job_id, row.since), row.since)
    return starts
