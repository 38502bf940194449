"""What is queued and ready in a pool: summed in the database, so that no task and no line is read by itself."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from farm.dispatch.snapshot import Backlog, Group, WorkClass
from farm.queue.counts.shares import WEIGHED_PROJECTS
from farm.queue.offers.claimable import is_claimable_sql

MOST_GROUPS = 200
"""So many groups of an owner at a checkpoint are planned one by one. A plan compares each with the others."""

_FIRST_IMAGES = 2
"""So many images of a line of which nothing has started count as interactive: they show whether it is worth it."""

# The partial index on `is_ready AND has_queued` holds these lines and no others. What claims and publishes appended
# since the last fold is little, and is added here. Deadlines are summed apart by each factor of 1.5 in the time
# that is left. Nothing is ordered before it is summed, since Postgres would sort all lines.
#
# In order:
#   lines   what is ready, one by one
#   summed  by group
#   places  the groups of an owner at a checkpoint in their order: by class, by priority, the oldest first.
#           Windows, not joins: where nothing was analysed yet, Postgres would compare each group with each
#   placed  the group at the last place. What is beyond counts as images of that one: so its owner gets the devices
#           for it, and as the first are rendered, others take their places
_BACKLOGS = text(
    f"""
    WITH appended AS MATERIALIZED (
        SELECT job_id, batch_key, sum(queued) AS queued, sum(running + succeeded + failed) AS begun
        FROM deltas GROUP BY job_id, batch_key
    ), lines AS (
        SELECT c.group_id, c.checkpoint_id, c.owner_id, p.id AS project_id, c.class, c.priority, c.max_devices,
               c.ready_at,
               CASE WHEN c.class = 'deadline' THEN (SELECT deadline FROM jobs WHERE id = c.job_id) END AS deadline,
               c.queued + coalesce(a.queued, 0) AS queued,
               c.running + c.succeeded + c.failed + c.cancelled + coalesce(a.begun, 0) > 0 AS has_begun
        FROM counters c
        LEFT JOIN {WEIGHED_PROJECTS} p ON p.id = c.project_id
        LEFT JOIN appended a USING (job_id, batch_key)
        WHERE c.pool = :pool AND {is_claimable_sql("c")} AND c.group_id IS NOT NULL
    ), summed AS MATERIALIZED (
        SELECT group_id, checkpoint_id, owner_id, project_id, class, priority,
               max_devices IS NOT NULL AS is_limited,
               floor(ln(greatest(60, extract(epoch FROM deadline - now())::float8)) / ln(1.5::float8)) AS urgency,
               sum(queued)::bigint AS images,
               coalesce(sum(least(queued, {_FIRST_IMAGES})) FILTER (WHERE NOT has_begun), 0)::bigint
                   AS first_images,
               extract(epoch FROM coalesce(min(ready_at), now()))::float8 AS oldest_at,
               extract(epoch FROM coalesce(min(ready_at) FILTER (WHERE NOT has_begun), now()))::float8 AS first_at,
               extract(epoch FROM min(deadline))::float8 AS deadline_at,
               sum(max_devices)::bigint AS max_devices
        FROM lines
        WHERE queued > 0
        GROUP BY group_id, checkpoint_id, owner_id, project_id, class, priority, is_limited, urgency
    ), places AS (
        SELECT *, dense_rank() OVER (
            PARTITION BY owner_id, checkpoint_id ORDER BY first_class, first_priority DESC, first_ready_at, group_id
        ) AS place
        FROM (
            SELECT *, min(array_position(ARRAY['interactive', 'deadline', 'bulk'], class)) OVER g AS first_class,
                   max(priority) OVER g AS first_priority, min(oldest_at) OVER g AS first_ready_at
            FROM summed WINDOW g AS (PARTITION BY owner_id, checkpoint_id, group_id)
        ) grouped
    ), placed AS (
        SELECT *, max(group_id) FILTER (WHERE place = {MOST_GROUPS}) OVER (
            PARTITION BY owner_id, checkpoint_id
        ) AS last
        FROM places
    )
    SELECT CASE WHEN place <= {MOST_GROUPS} THEN group_id ELSE last END AS shown_id, owner_id, project_id, class,
           priority, is_limited, urgency, sum(images)::bigint AS images,
           coalesce(sum(first_images) FILTER (WHERE place <= {MOST_GROUPS}), 0)::bigint AS first_images,
           min(oldest_at) AS oldest_at, min(first_at) AS first_at, min(deadline_at) AS deadline_at,
           max(max_devices) AS max_devices
    FROM placed
    GROUP BY shown_id, owner_id, project_id, class, priority, is_limited, urgency
    """
)
_GROUPS = text(
    """
    SELECT g.id, g.checkpoint_id, k.family, g.pixels, g.batch_limit, g.pixel_steps, g.seconds
    FROM groups g JOIN checkpoints k ON k.id = g.checkpoint_id
    WHERE g.id = ANY(:ids) ORDER BY g.id
    """
)
_BYTES = text(
    """
    SELECT k.id, coalesce((SELECT sum((file.value ->> 'size')::bigint) FROM jsonb_each(k.files) file), 0)::bigint
           AS bytes
    FROM checkpoints k WHERE k.id = ANY(:ids)
    """
)


def read_backlogs(session: Session, pool: str) -> list[Backlog]:
    """What is ready in the pool, by group, owner, project that has a weight, class and priority.

    Beyond `MOST_GROUPS` of an owner at a checkpoint, images are counted with the last of those.
    """
    found = [backlog for row in session.execute(_BACKLOGS, {"pool": pool}) for backlog in _split(row)]
    return sorted(found, key=_order)


def _order(backlog: Backlog) -> tuple[object, ...]:
    """By group, owner, project, class and priority; then what is due first, and what any number may render."""
    key = (backlog.group, backlog.owner, backlog.project or 0, backlog.class_, backlog.priority)
    return (*key, backlog.deadline_at or 0.0, backlog.max_devices or 0)


def _split(row: Row[Any]) -> Iterator[Backlog]:
    """The first images of what has not begun are interactive, the rest is of the class that the job has."""
    class_ = WorkClass(row._mapping["class"])
    first = 0 if class_ is WorkClass.INTERACTIVE else row.first_images
    limit = row.max_devices if row.is_limited else None
    key = (row.shown_id, row.owner_id, row.project_id)
    if first:
        yield Backlog(*key, WorkClass.INTERACTIVE, row.priority, first, row.first_at, None, limit)
    if row.images > first:
        yield Backlog(*key, class_, row.priority, row.images - first, row.oldest_at, row.deadline_at, limit)


def read_groups(session: Session, ids: Collection[int]) -> tuple[list[Group], dict[int, float]]:
    """These groups, and the expected seconds of an image by group, as far as they are measured."""
    rows: Sequence[Row[Any]] = session.execute(_GROUPS, {"ids": sorted(ids)}).all()
    groups = [
        Group(row.id, row.checkpoint_id, row.family, row.pixels, row.batch_limit, row.pixel_steps) for row in rows
    ]
    return groups, {row.id: row.seconds for row in rows if row.seconds is not None}


def read_bytes(session: Session, checkpoints: Collection[int]) -> dict[int, int]:
    """How many bytes the weights of these checkpoints have; 0 for a folder that lies at a place of its own."""
    rows = session.execute(_BYTES, {"ids": sorted(checkpoints)})
    return {row.id: row.bytes for row in rows}
