"""What the planner's tables no longer need: seats of gone workers, unnamed groups, closed queues, old figures.

Bounded, so that a round never takes long: what is left waits for the next one.
"""

from sqlalchemy import text
from sqlalchemy.orm import Session

from farm.planner.measuring.learn import MOST_KEPT
from farm.queue.offers.claimable import is_claimable_sql
from farm.queue.workers.fleet import is_up_sql

_MOST = 1_000

_MOST_LOOKED_AT = 5_000

_STATEMENTS = {
    "seats": f"""
        DELETE FROM seats WHERE worker_id IN (
            SELECT s.worker_id FROM seats s LEFT JOIN workers w ON w.id = s.worker_id
            WHERE w.id IS NULL OR NOT ({is_up_sql("w")}) LIMIT {_MOST})
    """,
    "plans": "DELETE FROM plans WHERE planned_at < now() - interval '1 day'",
    "outlooks": f"""
        DELETE FROM outlooks WHERE (group_id, owner_id, class) IN (
            SELECT group_id, owner_id, class FROM outlooks o
            WHERE updated_at < now() - interval '1 hour'
              AND NOT EXISTS (SELECT FROM counters c WHERE c.group_id = o.group_id AND c.owner_id = o.owner_id
                              AND {is_claimable_sql("c")})
            LIMIT {_MOST})
    """,
    "shares": f"""
        DELETE FROM shares WHERE (pool, owner_id, project_id) IN (
            SELECT pool, owner_id, project_id FROM shares
            WHERE updated_at < now() - interval '90 days' LIMIT {_MOST})
    """,
    "speeds": f"""
        DELETE FROM speeds WHERE (family, pixels, device_class, batch) IN (
            SELECT family, pixels, device_class, batch FROM speeds
            ORDER BY updated_at DESC OFFSET {MOST_KEPT} LIMIT {_MOST})
    """,
    "loads": f"""
        DELETE FROM loads WHERE (checkpoint_id, device_class) IN (
            SELECT l.checkpoint_id, l.device_class FROM loads l JOIN checkpoints k ON k.id = l.checkpoint_id
            WHERE k.removed_at IS NOT NULL LIMIT {_MOST})
    """,
}
# Groups are gone through from the first to the last, so many in a round: most are named by jobs that are kept.
_GROUPS = text(
    f"""
    WITH looked_at AS (
        SELECT id, created_at FROM groups WHERE id > :after ORDER BY id LIMIT {_MOST_LOOKED_AT}
    ), unnamed AS (
        SELECT g.id FROM looked_at l JOIN groups g USING (id)
        WHERE l.created_at < now() - interval '1 day'
          AND NOT EXISTS (SELECT FROM counters c WHERE c.group_id = l.id)
        ORDER BY g.id FOR UPDATE OF g SKIP LOCKED
    ), gone AS (
        DELETE FROM groups g USING unnamed u WHERE g.id = u.id
    )
    SELECT max(id) FROM looked_at HAVING count(*) = {_MOST_LOOKED_AT}
    """
)


# After groups: the order of locks. Who has work again enters a queue again, with the turn that the lag gives.
_QUEUES = text(
    f"""
    DELETE FROM queues WHERE (pool, priority, owner_id) IN (
        SELECT pool, priority, owner_id FROM queues WHERE NOT is_waiting LIMIT {_MOST} FOR UPDATE SKIP LOCKED)
    """
)


def prune(session: Session, after_group: int = 0) -> int:
    """Delete what is past its use. Groups are looked at from `after_group` on; return where to go on next time.

    Raises IntegrityError where a job that is being accepted names a group that was about to go: it stays.
    """
    for statement in _STATEMENTS.values():
        session.execute(text(statement))
    next_group = session.execute(_GROUPS, {"after": after_group}).scalar() or 0
    session.execute(_QUEUES)
    return next_group
