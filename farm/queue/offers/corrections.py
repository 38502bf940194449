"""What the keeper corrects about lines: times that came, lines that an older portal wrote, queues of owners.

Few short statements a round, each by an index that holds nothing but what is to be corrected, or a probe for each
of so many owners. What others hold at the moment is left to the next round.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from farm.db.clock import AHEAD_SECONDS
from farm.queue.offers.claimable import is_claimable_sql, is_due_sql, is_to_wake_sql
from farm.queue.offers.readiness import KEY_OF_QUEUE, OPEN_READY, open_queues

_MOST_AT_ONCE = 5_000
"""How many rows one round changes of each kind; the next one goes on."""

_MOST_LOOKED_AT = 1_000
"""So many queues, and owners who might need one, are looked at in a round; the next one goes on after them."""

_USUAL_STEPS = 20
"""By which the work of an image is estimated whose steps nobody recorded."""


class QueueKey(NamedTuple):
    """What a queue is found by."""

    pool: str
    priority: int
    owner_id: int


FIRST = QueueKey("", 0, 0)
"""Before any queue: no pool has a name as short."""

_LOCKED = f"ORDER BY c.job_id, c.batch_key LIMIT {_MOST_AT_ONCE} FOR UPDATE SKIP LOCKED"
# In the order of the index: what lies in the future is not read, however much that is.
_WAKE = text(
    f"""
    WITH due AS (
        SELECT c.job_id, c.batch_key FROM (
            SELECT job_id, batch_key FROM counters o WHERE {is_to_wake_sql("o")} AND o.group_id IS NOT NULL
            ORDER BY coalesce(o.not_before, '-infinity') LIMIT {_MOST_AT_ONCE}
        ) o JOIN counters c USING (job_id, batch_key)
        WHERE {is_to_wake_sql("c")}
        ORDER BY c.job_id, c.batch_key FOR UPDATE OF c SKIP LOCKED
    )
    UPDATE counters c SET is_ready = true, ready_at = coalesce(c.ready_at, now()) FROM due
    WHERE c.job_id = due.job_id AND c.batch_key = due.batch_key
    RETURNING c.job_id
    """
)


def wake_lines(session: Session) -> int:
    """Make ready what is open and whose time has come; return how many lines."""
    job_ids = session.scalars(_WAKE).all()
    if job_ids:
        open_queues(session, sorted(set(job_ids)))
    return len(job_ids)


_CUT = text(
    f"""
    WITH ahead AS (
        SELECT c.job_id, c.batch_key FROM counters c
        WHERE c.is_ready AND c.has_queued AND c.ready_at > now() + make_interval(secs => {AHEAD_SECONDS}) {_LOCKED}
    )
    UPDATE counters c SET ready_at = now() FROM ahead
    WHERE c.job_id = ahead.job_id AND c.batch_key = ahead.batch_key
    RETURNING c.job_id
    """
)


def cut_times(session: Session) -> bool:
    """Let lines be ready since now that are ready since a time to come: the clock was set back.

    They would seem to wait for no time, for as long as that is ahead. Returns whether there may be more. All ready
    lines are looked through, so this is for the moment when the clock was set, and not for every round.
    """
    return len(session.scalars(_CUT).all()) == _MOST_AT_ONCE


_STRAYS = text(f"SELECT c.job_id, c.batch_key FROM counters c WHERE c.has_queued AND c.group_id IS NULL {_LOCKED}")
_OF_STRAYS = "(c.job_id, c.batch_key) IN (SELECT * FROM unnest(CAST(:job_ids AS bigint[]), CAST(:keys AS text[])))"
_ENTER_GROUPS_OF_STRAYS = text(
    f"""
    INSERT INTO groups (pool, batch_key, batch_limit, checkpoint_id, pixels, pixel_steps)
    SELECT pool, batch_key, batch_limit, min(checkpoint_id), max(pixels), coalesce(max(pixels), 0) * {_USUAL_STEPS}
    FROM counters c WHERE {_OF_STRAYS}
    GROUP BY pool, batch_key, batch_limit ORDER BY batch_key
    ON CONFLICT DO NOTHING
    """
)
_ADOPT = text(
    f"""
    UPDATE counters c
    SET group_id = g.id, project_id = j.project_id, ready_at = greatest(j.created_at, c.not_before),
        class = CASE WHEN j.deadline IS NULL THEN 'bulk' ELSE 'deadline' END,
        is_ready = {is_due_sql("c")}
    FROM groups g, jobs j
    WHERE {_OF_STRAYS} AND j.id = c.job_id
      AND g.pool = c.pool AND g.batch_key = c.batch_key AND g.batch_limit IS NOT DISTINCT FROM c.batch_limit
    """
)


def adopt_lines(session: Session) -> int:
    """Give a group to the lines that an older portal wrote, and so lead claims to them; return how many lines."""
    strays = session.execute(_STRAYS).all()
    if strays:
        keys = {"job_ids": [row.job_id for row in strays], "keys": [row.batch_key for row in strays]}
        session.execute(_ENTER_GROUPS_OF_STRAYS, keys)
        session.execute(_ADOPT, keys)
        open_queues(session, sorted(set(keys["job_ids"])))
    return len(strays)


_HAS_NOTHING = f"""
    NOT EXISTS (
        SELECT FROM counters c
        WHERE c.pool = q.pool AND c.priority = q.priority AND c.owner_id = q.owner_id AND {is_claimable_sql("c")})
"""
_KEYS = """
    unnest(CAST(:pools AS text[]), CAST(:priorities AS integer[]), CAST(:owners AS bigint[]))
    AS e (pool, priority, owner_id)
"""
_WAITING_QUEUES = text(
    f"""
    SELECT pool, priority, owner_id FROM queues
    WHERE is_waiting AND (pool, priority, owner_id) > (:pool, :priority, :owner_id)
    ORDER BY pool, priority, owner_id LIMIT {_MOST_LOOKED_AT}
    """
)
_EMPTY_QUEUES = text(
    f"""
    SELECT q.pool, q.priority, q.owner_id FROM {_KEYS} JOIN queues q USING (pool, priority, owner_id)
    WHERE q.is_waiting AND {_HAS_NOTHING}
    ORDER BY q.pool, q.priority, q.owner_id FOR UPDATE OF q SKIP LOCKED
    """
)
_CLOSE_QUEUES = text(
    f"""
    UPDATE queues q SET is_waiting = false FROM {_KEYS}
    WHERE q.pool = e.pool AND q.priority = e.priority AND q.owner_id = e.owner_id AND {_HAS_NOTHING}
    """
)


def close_empty_queues(session: Session, after: QueueKey = FIRST) -> QueueKey:
    """Keep claims from owners who have nothing ready any more; return after which queue to go on.

    They are locked first and judged again then: what was submitted meanwhile is seen.
    """
    looked_at = session.execute(_WAITING_QUEUES, after._asdict()).all()
    empty = session.execute(_EMPTY_QUEUES, _arrays(looked_at)).all() if looked_at else ()
    if empty:
        session.execute(_CLOSE_QUEUES, _arrays(empty))
    return QueueKey(*looked_at[-1]) if len(looked_at) == _MOST_LOOKED_AT else FIRST


def _arrays(keys: Sequence[Row[Any]]) -> dict[str, list[Any]]:
    pools, priorities, owners = map(list, zip(*keys, strict=True))
    return {"pools": pools, "priorities": priorities, "owners": owners}


_READY = f"SELECT {KEY_OF_QUEUE} FROM counters c WHERE {is_claimable_sql('c')}"
# A probe for each owner, instead of reading all their lines; `number` counts them.
_OPEN_MISSING_QUEUES = text(
    f"""
    WITH RECURSIVE found AS (
        SELECT CAST(:pool AS text) AS pool, CAST(:priority AS integer) AS priority,
               CAST(:owner_id AS bigint) AS owner_id, 0 AS number
        UNION ALL
        SELECT next.pool, next.priority, next.owner_id, f.number + 1 FROM found f CROSS JOIN LATERAL (
            SELECT * FROM (
                SELECT *, 1 AS nth FROM (
                    {_READY} AND c.pool = f.pool AND c.priority = f.priority AND c.owner_id > f.owner_id
                    ORDER BY c.owner_id LIMIT 1) same_priority
                UNION ALL
                SELECT *, 2 FROM (
                    {_READY} AND c.pool = f.pool AND c.priority < f.priority
                    ORDER BY c.priority DESC, c.owner_id LIMIT 1) same_pool
                UNION ALL
                SELECT *, 3 FROM (
                    {_READY} AND c.pool > f.pool
                    ORDER BY c.pool, c.priority DESC, c.owner_id LIMIT 1) other_pool
            ) following
            ORDER BY nth LIMIT 1
        ) next
        WHERE f.number < {_MOST_LOOKED_AT}
    ), ready AS (
        SELECT * FROM found f
        WHERE number > 0 AND NOT EXISTS (
            SELECT FROM queues q
            WHERE q.pool = f.pool AND q.priority = f.priority AND q.owner_id = f.owner_id AND q.is_waiting)
    ), opened AS (
        {OPEN_READY}
    )
    SELECT pool, priority, owner_id FROM found WHERE number = {_MOST_LOOKED_AT}
    """
)


def open_missing_queues(session: Session, after: QueueKey = FIRST) -> QueueKey:
    """Lead claims to owners with ready lines who are in no queue: of tasks that came back, say.

    Returns after which owner to go on.
    """
    last = session.execute(_OPEN_MISSING_QUEUES, after._asdict()).one_or_none()
    return QueueKey(*last) if last else FIRST
