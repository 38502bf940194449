"""Outlooks as they are stored: one is written again only when the moment that it expects has moved."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from heapq import nlargest, nsmallest
from math import inf
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from farm.dispatch.planned import Outlook

OutlookKey = tuple[int, int, str]
"""(group, owner, class)"""

_LEAST_SECONDS = 5.0
_LEAST_PART = 0.2
_MOST_WRITTEN = 2_000
"""In one round: half of it what starts first, the other half what is furthest off: so all has its turn."""

_LOAD = text(
    """
    SELECT o.group_id, o.owner_id, o.class, o.reason, o.starts_in_low, o.starts_in_high, o.images_per_second,
           extract(epoch FROM o.updated_at)::float8 AS at
    FROM outlooks o JOIN groups g ON g.id = o.group_id WHERE g.pool = :pool
    """
)
_PUT = text(
    """
    INSERT INTO outlooks (group_id, owner_id, class, reason, starts_in_low, starts_in_high, images_per_second)
    SELECT n.* FROM unnest(CAST(:groups AS bigint[]), CAST(:owners AS bigint[]), CAST(:classes AS text[]),
                           CAST(:reasons AS text[]), CAST(:low AS float8[]), CAST(:high AS float8[]),
                           CAST(:paces AS float8[]))
                    AS n (group_id, owner_id, class, reason, low, high, pace)
    JOIN groups g ON g.id = n.group_id
    ORDER BY n.group_id, n.owner_id, n.class
    ON CONFLICT (group_id, owner_id, class) DO UPDATE
    SET reason = excluded.reason, starts_in_low = excluded.starts_in_low,
        starts_in_high = excluded.starts_in_high, images_per_second = excluded.images_per_second, updated_at = now()
    """
)
_TAKE = text(
    """
    DELETE FROM outlooks o
    USING unnest(CAST(:groups AS bigint[]), CAST(:owners AS bigint[]), CAST(:classes AS text[]))
          AS n (group_id, owner_id, class)
    WHERE o.group_id = n.group_id AND o.owner_id = n.owner_id AND o.class = n.class
    """
)


@dataclass(frozen=True, slots=True)
class Expected:
    """An outlook in moments: `low` and `high` are seconds of Unix time, None where nobody can say."""

    reason: str
    low: float | None
    high: float | None
    pace: float

    @classmethod
    def of(cls, outlook: Outlook, now: float) -> "Expected":
        return cls(
            str(outlook.reason),
            _plus(now, outlook.starts_in_low),
            _plus(now, outlook.starts_in_high),
            outlook.images_per_second,
        )

    def off_by(self, other: "Expected | None", now: float) -> float:
        """How far off the other one is: a reader would notice what is above 1."""
        if other is None or self.reason != other.reason:
            return inf
        pace = abs(self.pace - other.pace)
        return max(
            pace / (_LEAST_PART * other.pace) if other.pace else (inf if pace else 0.0),
            _moved(self.low, other.low, now),
            _moved(self.high, other.high, now),
        )


@dataclass
class Board:
    """The outlooks of a pool, as they are stored."""

    pool: str
    _stored: dict[OutlookKey, Expected] = field(default_factory=dict)

    @classmethod
    def load(cls, session: Session, pool: str) -> "Board":
        board = cls(pool)
        for group, owner, class_, reason, low, high, pace, at in session.execute(_LOAD, {"pool": pool}):
            board._stored[group, owner, class_] = Expected(reason, _plus(at, low), _plus(at, high), pace or 0.0)
        return board

    def write(self, session: Session, outlooks: Iterable[Outlook], now: float) -> int:
        """Store what changed and take away what no longer waits; return how many rows that were."""
        wanted = _merge(outlooks, now)
        off = {key: new.off_by(self._stored.get(key), now) for key, new in wanted.items()}
        changed = _choose({key: by for key, by in off.items() if by > 1}, wanted)
        gone = sorted(self._stored.keys() - wanted.keys())[:_MOST_WRITTEN]
        if gone:
            session.execute(_TAKE, _keys(gone))
        if changed:
            self._put(session, changed, wanted, now)
        for key in gone:
            del self._stored[key]
        self._stored |= {key: wanted[key] for key in changed}
        return len(changed) + len(gone)

    def _put(
        self, session: Session, keys: list[OutlookKey], wanted: dict[OutlookKey, Expected], now: float
    ) -> None:
        values = [wanted[key] for key in keys]
        session.execute(
            _PUT,
            {
                **_keys(keys),
                "reasons": [value.reason for value in values],
                "low": [_plus(-now, value.low) for value in values],
                "high": [_plus(-now, value.high) for value in values],
                "paces": [value.pace for value in values],
            },
        )


def _choose(off: Mapping[OutlookKey, float], wanted: Mapping[OutlookKey, Expected]) -> list[OutlookKey]:
    """Which of those that are off so far are written now, in order."""
    if len(off) <= _MOST_WRITTEN:
        return sorted(off)
    first = set(nsmallest(_MOST_WRITTEN // 2, off, key=lambda key: _first(wanted[key])))
    rest = [key for key in off if key not in first]
    return sorted([*first, *nlargest(_MOST_WRITTEN // 2, rest, key=lambda key: off[key])])


def _merge(outlooks: Iterable[Outlook], now: float) -> dict[OutlookKey, Expected]:
    """By group, owner and class: of an owner's projects the one that starts first counts, with the pace of all."""
    found: dict[OutlookKey, Expected] = {}
    for outlook in outlooks:
        key, new = (outlook.group, outlook.owner, str(outlook.class_)), Expected.of(outlook, now)
        if old := found.get(key):
            first = min(old, new, key=_first)
            new = Expected(first.reason, first.low, first.high, old.pace + new.pace)
        found[key] = new
    return found


def _first(expected: Expected) -> float:
    return float("inf") if expected.low is None else expected.low


def _moved(new: float | None, old: float | None, now: float) -> float:
    """A moment that is near must be told precisely, one that is far away need not be."""
    if new is None or old is None:
        return 0.0 if new is old else inf
    return abs(new - old) / max(_LEAST_SECONDS, _LEAST_PART * (new - now))


def _plus(now: float, seconds: float | None) -> float | None:
    return None if seconds is None else now + seconds


def _keys(keys: Iterable[OutlookKey]) -> dict[str, Any]:
    groups, owners, classes = map(list, zip(*keys, strict=True))
    return {"groups": groups, "owners": owners, "classes": classes}
