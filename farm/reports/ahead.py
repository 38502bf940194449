"""How many images go first: counted line by line, with what was appended since, and no further than so many lines.

Pages ask this again and again, and a farm may have very many lines. So each count walks an index in its order and
stops; then there are more than it says.
"""

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.orm import Session

from farm.queue.offers.claimable import is_claimable_sql

MOST_LINES = 1_000
"""A count reads no more lines of each kind."""


@dataclass(frozen=True)
class Count:
    """So many images are queued, or more where not all lines were counted."""

    images: int = 0
    is_all: bool = True


@dataclass(frozen=True)
class Ahead:
    """What else waits in the pool of a job: with a higher priority; of its owner; of others, in turn with it."""

    higher: Count = Count()
    older: Count = Count()
    others: Count = Count()


def queued_now_sql(line: str) -> str:
    """SQL for how much of a line is queued, deltas included. `line` names a row with the columns of `counters`."""
    appended = f"SELECT sum(queued) FROM deltas d WHERE d.job_id = {line}.job_id AND d.batch_key = {line}.batch_key"
    return f"({line}.queued + coalesce(({appended}), 0))"


def _lines(kind: str, condition: str) -> str:
    """In the order of an index, `counters_ready_of_owner`: one that is not would be sorted as a whole."""
    return f"""(
        SELECT '{kind}' AS kind, c.job_id, c.batch_key, c.queued FROM counters c
        WHERE c.pool = :pool AND {condition} AND {is_claimable_sql("c")}
        ORDER BY c.pool, c.priority DESC, c.owner_id, c.job_id LIMIT {MOST_LINES}
    )"""


_AHEAD = text(
    f"""
    SELECT c.kind, sum({queued_now_sql("c")})::bigint AS images, count(*) < {MOST_LINES} AS is_all
    FROM (
        {_lines("higher", "c.priority > :priority")}
        UNION ALL
        {_lines("older", "c.priority = :priority AND c.owner_id = :owner_id AND c.job_id < :job_id")}
        UNION ALL
        {_lines("others", "c.priority = :priority AND c.owner_id < :owner_id")}
        UNION ALL
        {_lines("others", "c.priority = :priority AND c.owner_id > :owner_id")}
    ) c
    GROUP BY c.kind
    """
)


def read_ahead(session: Session, job_id: int, *, pool: str, owner_id: int, priority: int) -> Ahead:
    """What waits beside a job, as far as it may be claimed now."""
    keys = {"job_id": job_id, "pool": pool, "owner_id": owner_id, "priority": priority}
    rows = session.execute(_AHEAD, keys)
    return Ahead(**{row.kind: Count(row.images, row.is_all) for row in rows})
