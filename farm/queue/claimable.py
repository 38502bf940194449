"""Which tasks a worker may claim next, in one statement that locks them.

A worker suits a line (the queued tasks of one job and batch key) unless it is kept from the line's checkpoint
or is known to have too little memory for it. One that does not suit it leaves it to those that do, as long
as there are such; so no line is left by all. In the same way a task that failed on a worker, or lost it, is
left to suitable workers that did not try it yet, but only for some minutes: they may be busy with other work.
"""

from sqlalchemy import Boolean, ColumnElement, literal_column

from farm.queue.shares import DECAYED
from farm.queue.workers.exclusions import is_in_force_sql, is_recent_sql
from farm.queue.workers.fleet import is_ready_sql, is_up_sql


def is_offered_sql(line: str) -> str:
    """SQL for whether a line's job is open to claims and has tasks queued: what the partial indexes hold."""
    return f"{line}.is_open AND {line}.has_queued"


def is_claimable_sql(line: str) -> str:
    """SQL for whether tasks of a line may be claimed now, by some worker. `line` names a row of `counters`."""
    return f"{is_offered_sql(line)} AND ({line}.not_before IS NULL OR {line}.not_before <= now())"


def is_claimable() -> ColumnElement[bool]:
    """Whether tasks of a row of `counters` may be claimed now, by some worker."""
    return literal_column(f"({is_claimable_sql('counters')})", Boolean())


_HAS_UNTRIED = """
    EXISTS (
        SELECT FROM tasks
        WHERE job_id = {line}.job_id AND batch_key = {line}.batch_key AND status = 'queued' AND NOT runs_alone)
"""
_SUITS_CLAIMANT = f"""
    c.pool = :pool AND {is_claimable_sql("c")}
    AND NOT EXISTS (
        SELECT FROM unfit u JOIN left_to USING (checkpoint_id)
        WHERE u.checkpoint_id = c.checkpoint_id
          AND (u.from_pixels IS NULL OR c.pixels >= u.from_pixels)
          AND (c.pixels IS NULL OR below_pixels IS NULL OR c.pixels < below_pixels))
"""
# OFFSET 0 keeps Postgres from reading all that ever failed on the worker, for one task.
_MAY_TRY = """
    NOT EXISTS (
        SELECT FROM attempts a JOIN workers w ON w.id = a.worker_id
        WHERE a.task_id = t.id AND a.outcome IN ('failed', 'lost') AND w.name = (SELECT name FROM claimant)
          AND a.ended_at > now() - make_interval(secs => :left_seconds) OFFSET 0)
    OR (SELECT count(*) FROM suited s
        WHERE s.checkpoint_id = {line}.checkpoint_id AND s.pixels IS NOT DISTINCT FROM {line}.pixels)
       <= (SELECT count(DISTINCT w.name) FROM attempts a JOIN workers w ON w.id = a.worker_id
           JOIN suited s ON s.name = w.name
           WHERE a.task_id = t.id AND a.outcome IN ('failed', 'lost')
             AND s.checkpoint_id = {line}.checkpoint_id AND s.pixels IS NOT DISTINCT FROM {line}.pixels)
"""

# In order:
#   serving   the workers that may take work of the pool, and what each is kept from (excluded, limits)
#   others    other workers that are ready for work (`farm.queue.workers.fleet`): what is left, they take
#   unfit     the checkpoints that the claimant does not suit, from so many pixels on: NULL is from the first
#   left_to   of these, those that others suit, below so many pixels: NULL is up to any number
#   lines     the first lines of every owner that the claimant may take and does not ask to pass over, with the
#             owner's share of the GPUs so far
#   ranked    highest priority; then the owner who had least; then what is resident on this device; then the oldest
#   suited    the others that suit them, by what they need
#   head      the first of them that has a task for this worker. A CTE is read in the order in which it was made
#   mates     the head, followed by other jobs with its batch key, to fill the batch
#   fresh     their tasks, up to the worker's part of what is queued, so that a short job spreads over all workers
#   lone      once the head has none of those: a task of it whose last try failed or lost its worker. It is
#             tried alone, so that it cannot harm its batch mates
# Owners count as equal within :share_seconds, so that two of them do not alternate checkpoints image by image.
# With :untried_only lines count that have a task which nobody tried, and no others: asked again when the first
# lines held nothing but tasks that this worker leaves to others.
NEXT = f"""
    WITH excluded AS MATERIALIZED (
        SELECT worker_name, checkpoint_id FROM exclusions
        WHERE {is_in_force_sql("exclusions")}
    ), limits AS MATERIALIZED (
        SELECT worker_name, family, pixels FROM memory_limits
        WHERE {is_recent_sql("memory_limits")}
    ), claimant AS MATERIALIZED (
        SELECT name FROM workers WHERE id = :claimant
        AND NOT EXISTS (SELECT FROM excluded WHERE worker_name = name AND checkpoint_id IS NULL)
    ), serving AS MATERIALIZED (
        SELECT w.name, {is_ready_sql("w")} AS is_ready
        FROM workers w
        WHERE w.pool = :pool AND {is_up_sql("w")}
          AND NOT EXISTS (SELECT FROM excluded e WHERE e.worker_name = w.name AND e.checkpoint_id IS NULL)
    ), others AS MATERIALIZED (
        SELECT DISTINCT name FROM serving WHERE is_ready AND name <> (SELECT name FROM claimant)
    ), unfit AS MATERIALIZED (
        SELECT e.checkpoint_id, NULL AS from_pixels FROM excluded e JOIN claimant ON name = worker_name
        UNION ALL
        SELECT k.id, l.pixels FROM limits l JOIN claimant ON name = worker_name JOIN checkpoints k USING (family)
    ), left_to AS MATERIALIZED (
        SELECT k.id AS checkpoint_id, CASE WHEN count(*) = count(l.pixels) THEN max(l.pixels) END AS below_pixels
        FROM checkpoints k CROSS JOIN others o
        LEFT JOIN limits l ON l.worker_name = o.name AND l.family = k.family
        LEFT JOIN excluded x ON x.worker_name = o.name AND x.checkpoint_id = k.id
        WHERE k.id IN (SELECT checkpoint_id FROM unfit) AND x.worker_name IS NULL
        GROUP BY k.id
    ), lines AS (
        SELECT line.*, floor(({DECAYED}) / :share_seconds) AS share
        FROM claimant CROSS JOIN users u
        CROSS JOIN LATERAL (
            SELECT job_id, batch_key, batch_limit, priority, queued, checkpoint_id, pixels FROM counters c
            WHERE owner_id = u.id AND {_SUITS_CLAIMANT} AND batch_key <> ALL (CAST(:passed_over AS text[]))
              AND (NOT :untried_only OR {_HAS_UNTRIED.format(line="c")})
            ORDER BY priority DESC, job_id LIMIT 32
        ) line
    ), ranked AS MATERIALIZED (
        SELECT * FROM lines
        ORDER BY priority DESC, share, (checkpoint_id = :resident) DESC NULLS LAST, job_id, batch_key LIMIT 32
    ), suited AS MATERIALIZED (
        SELECT n.checkpoint_id, n.pixels, o.name
        FROM (SELECT DISTINCT checkpoint_id, pixels FROM ranked) n
        JOIN checkpoints k ON k.id = n.checkpoint_id
        CROSS JOIN others o
        LEFT JOIN limits l ON l.worker_name = o.name AND l.family = k.family
        LEFT JOIN excluded x ON x.worker_name = o.name AND x.checkpoint_id = k.id
        WHERE x.worker_name IS NULL AND (l.pixels IS NULL OR n.pixels IS NULL OR n.pixels < l.pixels)
    ), head AS MATERIALIZED (
        SELECT * FROM ranked
        WHERE {_HAS_UNTRIED.format(line="ranked")}
        OR EXISTS (
            SELECT FROM (
                SELECT id FROM tasks
                WHERE job_id = ranked.job_id AND batch_key = ranked.batch_key AND status = 'queued' AND runs_alone
                ORDER BY seq LIMIT 8
            ) t
            WHERE {_MAY_TRY.format(line="ranked")})
        LIMIT 1
    ), mates AS (
        SELECT c.job_id, c.batch_key, c.queued + coalesce((
            SELECT sum(queued) FROM deltas d WHERE d.job_id = c.job_id AND d.batch_key = c.batch_key), 0) AS queued
        FROM head JOIN counters c USING (batch_key)
        WHERE {_SUITS_CLAIMANT}
        ORDER BY (c.job_id = head.job_id) DESC, c.priority DESC, c.job_id LIMIT 16
    ), part AS (
        SELECT least(:limit, batch_limit, ceil((SELECT sum(queued) FROM mates)::numeric
                                             / greatest(1, (SELECT count(*) FROM serving)))) AS tasks
        FROM head
    ), fresh AS (
        SELECT t.* FROM mates CROSS JOIN LATERAL (
            SELECT id, status, job_id FROM tasks
            WHERE job_id = mates.job_id AND batch_key = mates.batch_key AND status = 'queued'
              AND NOT runs_alone
            ORDER BY seq LIMIT :limit FOR UPDATE SKIP LOCKED
        ) t
        LIMIT (SELECT tasks FROM part)
    ), lone AS (
        SELECT t.id, t.status FROM head JOIN tasks t USING (job_id, batch_key)
        WHERE t.status = 'queued' AND t.runs_alone
          AND NOT EXISTS (SELECT FROM fresh WHERE fresh.job_id = head.job_id)
          AND ({_MAY_TRY.format(line="head")})
        ORDER BY t.seq LIMIT 1 FOR UPDATE OF t SKIP LOCKED
    )
    SELECT id, status FROM lone
    UNION ALL
    SELECT id, status FROM fresh WHERE NOT EXISTS (SELECT FROM lone)
"""

IS_ANYTHING_OFFERED = f"SELECT EXISTS (SELECT FROM counters c WHERE pool = :pool AND {is_offered_sql('c')})"
"""One probe of an index: where nothing is queued, nobody needs to look at every owner's lines."""
