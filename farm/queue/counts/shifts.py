"""Changes of lines that are not appended: the row of a line, after its deltas were folded into it.

So no count of a row becomes negative, and what leads claims to a line follows at once. Where so much was appended
that folding it would hold up everybody, because nobody folded for long, what is added goes into the row, and what
is taken away is appended: it is folded after what it takes from.
"""

import json
from collections.abc import Collection, Mapping

from sqlalchemy import text
from sqlalchemy.orm import Session

from farm.queue.counts import lines
from farm.queue.counts.lines import KEYS, STATUSES, Change, LineKey

MOST_FOLDED = 500
"""A change folds no more deltas of a line than so many."""

_COUNTS = ", ".join(STATUSES)
_SUMS = ", ".join(f"coalesce(sum({status}), 0)::integer AS {status}" for status in STATUSES)
_IS_ANY_COUNT = f"({_COUNTS}) <> ({', '.join('0' for _ in STATUSES)})"

_PILED = text(
    f"""
    SELECT k.job_id, k.batch_key FROM {KEYS}
    WHERE (SELECT count(*) FROM (
               SELECT FROM deltas d WHERE d.job_id = k.job_id AND d.batch_key = k.batch_key AND {_IS_ANY_COUNT}
               LIMIT :most + 1) one) > :most
    """
)
# A delta that says something of charges or speeds stays for that: only its counts are used up here.
_SHIFT = text(
    f"""
    WITH folded AS MATERIALIZED (
        SELECT d.id, d.job_id, d.batch_key, {", ".join(f"d.{status}" for status in STATUSES)},
               d.charged_seconds <> 0 OR d.images IS NOT NULL AS stays
        FROM deltas d JOIN {KEYS} USING (job_id, batch_key) WHERE {_IS_ANY_COUNT}
    ), emptied AS (
        UPDATE deltas SET {", ".join(f"{status} = 0" for status in STATUSES)}
        WHERE id IN (SELECT id FROM folded WHERE stays)
    ), deleted AS (
        DELETE FROM deltas WHERE id IN (SELECT id FROM folded WHERE NOT stays)
    ), changes AS (
        SELECT job_id, batch_key, {_SUMS}
        FROM (
            SELECT job_id, batch_key, {_COUNTS} FROM folded
            UNION ALL
            SELECT * FROM jsonb_to_recordset(CAST(:shifts AS jsonb)) AS s(
                job_id bigint, batch_key text, {", ".join(f"{status} integer" for status in STATUSES)})
        ) one GROUP BY job_id, batch_key
    )
    UPDATE counters c SET {", ".join(f"{status} = c.{status} + x.{status}" for status in STATUSES)}
    FROM changes x WHERE c.job_id = x.job_id AND c.batch_key = x.batch_key
    """
)


def shift(session: Session, counts: Mapping[LineKey, Mapping[str, int]]) -> None:
    """Change the counts of lines directly: lock their rows in order, fold their deltas, apply the changes."""
    if not counts:
        return
    lines.lock(session, counts.keys())
    piled = _find_piled(session, counts.keys())
    _fold_and_change(session, {line: changed for line, changed in counts.items() if line not in piled})
    _change_beside(session, {line: changed for line, changed in counts.items() if line in piled})


def _find_piled(session: Session, keys: Collection[LineKey]) -> set[LineKey]:
    found = session.execute(_PILED, {**lines.arrays(keys), "most": MOST_FOLDED})
    return {LineKey(*row) for row in found}


def _fold_and_change(session: Session, counts: Mapping[LineKey, Mapping[str, int]]) -> None:
    if counts:
        shifts = [{**line._asdict(), **changed} for line, changed in counts.items()]
        session.execute(_SHIFT, {**lines.arrays(counts.keys()), "shifts": json.dumps(shifts)})


def _change_beside(session: Session, counts: Mapping[LineKey, Mapping[str, int]]) -> None:
    """A reader of a line adds up its row and its deltas: to it this is the same change."""
    lines.add(session, {line: _signed(changed, 1) for line, changed in counts.items()})
    lines.append(session, [Change(line, _signed(changed, -1)) for line, changed in counts.items()])


def _signed(counts: Mapping[str, int], sign: int) -> dict[str, int]:
    return {status: count for status, count in counts.items() if count * sign > 0}
