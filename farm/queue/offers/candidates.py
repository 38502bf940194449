"""The statements of a claim: each finds the tasks that a worker takes next, and locks them.

A worker that has a seat in a fresh plan takes the work of that seat (`SEATED`). Without one, or where nothing is
left of it, it finds work by itself (`UNSEATED`). Both read indexes that hold only what is ready, wait for no lock,
and lock tasks alone.
"""

from farm.db.clock import is_within_sql
from farm.queue.offers.claimable import (
    has_a_device_left_sql,
    has_a_lone_task_sql,
    has_a_task_sql,
    is_claimable_sql,
    is_lone_sql,
    is_untried_sql,
    may_try_sql,
    suits_claimant_sql,
)
from farm.queue.workers.exclusions import is_recent_sql

PLAN_SECONDS = 10.0
"""For how long a plan is followed. One that is older has lost its leader."""

# Beside a fresh plan, for how long a worker leaves what it would have to load first to those whom the plan seats.
# One with a seat that is empty at this moment: simulated, such workers spent a seventh of their time on loads when
# they waited for two minutes only. One that the plan seats nowhere waits longer than a plan ever hesitates to load
# what is cold. What failed before may be what the seated worker must leave to others.
_PATIENCE_OF_SEATED_SECONDS = 900.0
_PATIENCE_SECONDS = 90.0
_PATIENCE_WITH_FAILED_SECONDS = 5.0
_TURN_SECONDS = 30.0
_MOST_LINES = 40
_MOST_LINES_OF_A_GROUP = 1024
_LINES_COUNTED = 256

BY_INDEXES = """
    SELECT set_config('plan_cache_mode', 'force_generic_plan', true),
           set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true)
"""
"""What a transaction says first that claims. To plan a statement takes ten times as long as to run it, so plans are
kept; and one that is kept must not read a whole table because that was small when the plan was made."""

_CLAIMANT = f"""
    claimant AS MATERIALIZED (
        SELECT w.id, w.name FROM workers w
        WHERE w.id = :claimant
          AND NOT EXISTS (SELECT FROM exclusions x WHERE x.worker_name = w.name AND x.checkpoint_id IS NULL)
    ), kept_from AS MATERIALIZED (
        SELECT x.checkpoint_id FROM exclusions x JOIN claimant c ON c.name = x.worker_name
        WHERE {is_recent_sql("x")}
    ), too_large AS MATERIALIZED (
        SELECT l.family, l.pixels FROM memory_limits l JOIN claimant c ON c.name = l.worker_name
        WHERE {is_recent_sql("l")}
    )"""
_LINE = (
    "c.job_id, c.batch_key, c.group_id, c.owner_id, c.checkpoint_id, c.pixels, c.priority, c.batch_limit, "
    "c.max_devices, c.ready_at"
)

# Jobs that had no device left a moment ago, when the claim was tried before.
_IS_WANTED = "c.job_id <> ALL (CAST(:without_jobs AS bigint[]))"

# In order:
#   head   the first line with a task for the worker that nobody else holds: first the untried ones, then one whose
#          last try failed or lost its worker. A CTE is read in the order in which it was made, and no further than
#          it is asked for
#   part   how many images the worker takes
#   mates  the lines that fill the batch: those of the head's group, of whichever jobs and owners
#   fresh  their tasks; a batch has none of those that are tried alone
_HEAD = f"""
    head AS MATERIALIZED (
        SELECT r.*, t.id AS task_id, t.status, t.is_lone
        FROM ranked r CROSS JOIN LATERAL (
            SELECT id, status, false AS is_lone FROM (
                SELECT id, status FROM tasks t WHERE {is_untried_sql("t", "r")}
                ORDER BY seq LIMIT 1 FOR UPDATE SKIP LOCKED
            ) untried
            UNION ALL
            SELECT id, status, true FROM (
                SELECT t.id, t.status FROM tasks t WHERE {is_lone_sql("t", "r")} AND {may_try_sql("t", "r")}
                ORDER BY t.seq LIMIT 1 FOR UPDATE SKIP LOCKED
            ) lone
            LIMIT 1
        ) t
        LIMIT 1
    )"""
_FRESH = f"""
    fresh AS (
        SELECT t.id, t.status FROM mates m CROSS JOIN LATERAL (
            SELECT id, status FROM tasks t WHERE {is_untried_sql("t", "m")}
            ORDER BY seq LIMIT :limit FOR UPDATE SKIP LOCKED
        ) t
        LIMIT (SELECT tasks FROM part)
    )
    SELECT task_id AS id, status FROM head WHERE is_lone
    UNION ALL
    SELECT id, status FROM fresh"""

_CLASSES = ("interactive", "deadline", "bulk")


def _own(work_class: str) -> str:
    """The ready lines of a class, of the seat's group and owner. By class one by one, so that an index has them in
    order."""
    return f"""(
            SELECT {_LINE} FROM counters c
            WHERE c.group_id = (SELECT group_id FROM seat) AND c.owner_id = (SELECT owner_id FROM seat)
              AND c.class = '{work_class}' AND {is_claimable_sql("c")}
            ORDER BY c.priority DESC, c.job_id LIMIT {_MOST_LINES_OF_A_GROUP}
        )"""


# In order:
#   seat    the claimant's, while the plan is fresh
#   ranked  the ready lines of its group: those of the owner it is for, by class, by priority, then the oldest; then
#           those of others
SEATED = f"""
    WITH {_CLAIMANT}, seat AS MATERIALIZED (
        SELECT s.group_id, s.owner_id, s.images
        FROM claimant JOIN seats s ON s.worker_id = claimant.id
        JOIN groups g ON g.id = s.group_id
        JOIN plans p ON p.pool = g.pool
        WHERE g.pool = :pool AND {is_within_sql("p.planned_at", PLAN_SECONDS)}
          AND g.batch_key <> ALL (CAST(:passed_over AS text[]))
    ), own AS (
        {" UNION ALL ".join(map(_own, _CLASSES))}
    ), others AS (
        SELECT {_LINE} FROM counters c
        WHERE c.group_id = (SELECT group_id FROM seat) AND c.owner_id <> (SELECT owner_id FROM seat)
          AND {is_claimable_sql("c")}
        ORDER BY c.priority DESC, c.job_id LIMIT {_MOST_LINES_OF_A_GROUP}
    ), ranked AS MATERIALIZED (
        SELECT * FROM (SELECT * FROM own UNION ALL SELECT * FROM others) c
        WHERE {_IS_WANTED} AND {suits_claimant_sql("c")} AND {has_a_device_left_sql("c")}
    ), {_HEAD}, part AS (
        SELECT least(:limit, seat.images, head.batch_limit) AS tasks FROM seat, head
    ), mates AS (
        SELECT r.job_id, r.batch_key FROM ranked r WHERE NOT (SELECT is_lone FROM head)
    ), {_FRESH}
"""

# In order:
#   plan    whether there is a fresh one: then what would have to be loaded first is left to whom it seats, for a
#           long while; but what failed on a worker or lost it only for a short one
#   owners  who has something ready: by priority, then by turn
#   lines   the first lines of each that have something for the claimant: of few owners more
#   ranked  highest priority; then whose turn it is; then what is resident on this device; then the oldest
_RANKED = f"""
    WITH {_CLAIMANT}, plan AS MATERIALIZED (
        SELECT EXISTS (
            SELECT FROM plans WHERE pool = :pool AND {is_within_sql("planned_at", PLAN_SECONDS)}
        ) AS is_fresh,
        CASE WHEN EXISTS (SELECT FROM seats WHERE worker_id = :claimant)
             THEN {_PATIENCE_OF_SEATED_SECONDS} ELSE {_PATIENCE_SECONDS} END AS patience
    ), owners AS MATERIALIZED (
        SELECT priority, owner_id, turn FROM queues WHERE pool = :pool AND is_waiting
        ORDER BY priority DESC, turn, owner_id LIMIT :owners
    ), lines AS (
        SELECT line.*, o.turn FROM claimant CROSS JOIN owners o CROSS JOIN LATERAL (
            SELECT * FROM (
                SELECT {_LINE} FROM counters c
                WHERE c.pool = :pool AND c.priority = o.priority AND c.owner_id = o.owner_id
                  AND {is_claimable_sql("c")}
                ORDER BY c.job_id LIMIT :lines_of_owner
            ) c
            WHERE c.batch_key <> ALL (CAST(:passed_over AS text[])) AND {_IS_WANTED}
              AND (c.checkpoint_id = ANY (CAST(:residents AS bigint[])) OR NOT (SELECT is_fresh FROM plan)
                   OR NOT {is_within_sql("c.ready_at", "(SELECT patience FROM plan)")}
                   OR (NOT {is_within_sql("c.ready_at", _PATIENCE_WITH_FAILED_SECONDS)}
                       AND {has_a_lone_task_sql("c")}))
              AND {suits_claimant_sql("c")} AND {has_a_device_left_sql("c")} AND {has_a_task_sql("c")}
            LIMIT (SELECT greatest(2, {_MOST_LINES} / greatest(1, count(*))) FROM owners)
        ) line
        LIMIT {_MOST_LINES}
    ), ranked AS MATERIALIZED (
        SELECT * FROM lines
        ORDER BY priority DESC, floor(turn / {_TURN_SECONDS}),
                 (checkpoint_id = ANY (CAST(:preferred AS bigint[]))) DESC, job_id, batch_key
    )"""

# A short queue is spread over the workers that are free to take a part of it.
UNSEATED = f"""{_RANKED}, {_HEAD}, part AS (
        SELECT least(:limit, head.batch_limit, ceil(greatest(1, queued)::numeric / (
            SELECT 1 + count(*) FROM workers w
            WHERE w.pool = :pool AND w.status = 'idle' AND w.id <> :claimant
              AND NOT EXISTS (SELECT FROM exclusions x WHERE x.worker_name = w.name AND x.checkpoint_id IS NULL)
        ))) AS tasks
        FROM head CROSS JOIN LATERAL (
            SELECT sum(c.queued + coalesce(d.queued, 0)) AS queued FROM (
                SELECT c.job_id, c.batch_key, c.queued FROM counters c
                WHERE c.group_id = head.group_id AND {is_claimable_sql("c")}
                ORDER BY c.priority DESC, c.job_id LIMIT {_LINES_COUNTED}
            ) c CROSS JOIN LATERAL (
                SELECT sum(queued) AS queued FROM deltas WHERE job_id = c.job_id AND batch_key = c.batch_key
            ) d
        ) count
    ), mates AS (
        SELECT job_id, batch_key FROM head WHERE NOT is_lone
        UNION ALL
        SELECT * FROM (
            SELECT c.job_id, c.batch_key FROM counters c
            WHERE c.group_id = (SELECT group_id FROM head WHERE NOT is_lone)
              AND c.job_id <> (SELECT job_id FROM head)
              AND {is_claimable_sql("c")} AND {_IS_WANTED}
              AND {suits_claimant_sql("c")} AND {has_a_device_left_sql("c")}
            ORDER BY c.priority DESC, c.job_id LIMIT {_MOST_LINES_OF_A_GROUP}
        ) others
    ), {_FRESH}
"""

IS_PLANNED = f"""
    SELECT EXISTS (SELECT FROM plans WHERE pool = :pool AND {is_within_sql("planned_at", PLAN_SECONDS)})
"""
"""Whether there is a fresh plan."""

IS_ANYTHING_LEFT = f"{_RANKED} SELECT EXISTS (SELECT FROM ranked)"
"""Whether there is something for the claimant that it found no way to: others hold it at this moment."""

NEAR = {"owners": 32, "lines_of_owner": 64}
"""How far a claim looks at first: the owners, and the lines of each."""

FAR = {"owners": 1024, "lines_of_owner": 1024}
"""How far it looks where it found nothing for itself among those."""
