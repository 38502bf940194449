"""Which tasks a worker may claim next, in one statement that locks them.

A worker suits a line (the queued tasks of one job and batch key) unless it is kept from the line's checkpoint
or is known to have too little memory for it. One that does not suit it leaves it to those that do, as long
as there are such; so no line is left by all. In the same way a task that failed on a worker, or lost it, is
left to suitable workers that did not try it yet, but only for some minutes: they may be busy with other work.
"""

from farm.shares import DECAYED

# `line` is a row of counters, `worker` an expression for a name.
_SUITS = """
    NOT EXISTS (SELECT FROM {excluded} x WHERE x.worker_name = {worker} AND x.checkpoint_id = {line}.checkpoint_id)
    AND NOT EXISTS (
        SELECT FROM {limits} l WHERE l.worker_name = {worker} AND {line}.pixels >= l.pixels
        AND l.family = (SELECT family FROM checkpoints WHERE id = {line}.checkpoint_id))
"""
_OTHER_SUITS = _SUITS.replace("{worker}", "o.name").replace("{excluded}", "excluded").replace("{limits}", "limits")
_OWN_SUITS = _SUITS.format(worker="claimant.name", line="c", excluded="own_excluded", limits="own_limits")
_IS_CLAIMABLE = f"""
    c.pool = :pool AND c.is_open AND c.has_queued AND (c.not_before IS NULL OR c.not_before <= now())
    AND (({_OWN_SUITS}) OR NOT EXISTS (SELECT FROM others o WHERE {_OTHER_SUITS.format(line="c")}))
"""
# OFFSET 0 keeps Postgres from reading all that ever failed on the worker, for one task.
_HAS_FAILED = """
    EXISTS (
        SELECT FROM attempts a JOIN workers w ON w.id = a.worker_id
        WHERE a.task_id = t.id AND a.outcome IN ('failed', 'lost') AND w.name = {worker}{lately} OFFSET 0)
"""
_LATELY = " AND a.ended_at > now() - make_interval(secs => :left_seconds)"
_MAY_TRY = f"""
    NOT ({_HAS_FAILED.format(worker="(SELECT name FROM claimant)", lately=_LATELY)} AND EXISTS (
        SELECT FROM others o WHERE NOT {_HAS_FAILED.format(worker="o.name", lately="")}
        AND {_OTHER_SUITS}))
"""

_HAS_UNTRIED = """
    EXISTS (
        SELECT FROM tasks
        WHERE job_id = {line}.job_id AND batch_key = {line}.batch_key AND status = 'queued' AND NOT runs_alone)
"""

# In order:
#   serving   the workers that may take work of the pool, and what each is kept from (excluded, limits)
#   others    those beside the claimant that are open, heard of and without trouble: what it leaves, they take
#   lines     the first lines of every owner that the claimant may take and does not ask to pass over, with the
#             owner's share of the GPUs so far
#   ranked    highest priority; then the owner who had least; then what is resident on this device; then the oldest
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
        WHERE checkpoint_id IS NULL OR created_at > now() - make_interval(secs => :avoided_seconds)
    ), limits AS MATERIALIZED (
        SELECT worker_name, family, pixels FROM memory_limits
        WHERE created_at > now() - make_interval(secs => :avoided_seconds)
    ), claimant AS MATERIALIZED (
        SELECT name FROM workers WHERE id = :claimant
        AND NOT EXISTS (SELECT FROM excluded WHERE worker_name = name AND checkpoint_id IS NULL)
    ), own_excluded AS MATERIALIZED (
        SELECT e.* FROM excluded e JOIN claimant ON name = worker_name
    ), own_limits AS MATERIALIZED (
        SELECT l.* FROM limits l JOIN claimant ON name = worker_name
    ), serving AS MATERIALIZED (
        SELECT w.name, w.status IN ('idle', 'busy') AND w.reason IS NULL
               AND w.last_seen_at > now() - make_interval(secs => :heard_seconds) AS is_open
        FROM workers w
        WHERE w.pool = :pool AND w.status NOT IN ('offline', 'draining')
          AND NOT EXISTS (SELECT FROM excluded e WHERE e.worker_name = w.name AND e.checkpoint_id IS NULL)
    ), others AS MATERIALIZED (
        SELECT name FROM serving WHERE is_open AND name <> (SELECT name FROM claimant)
    ), lines AS (
        SELECT line.*, floor(({DECAYED}) / :share_seconds) AS share
        FROM claimant CROSS JOIN users u
        CROSS JOIN LATERAL (
            SELECT job_id, batch_key, batch_limit, priority, queued, checkpoint_id, pixels FROM counters c
            WHERE owner_id = u.id AND {_IS_CLAIMABLE} AND batch_key <> ALL (CAST(:passed_over AS text[]))
              AND (NOT :untried_only OR {_HAS_UNTRIED.format(line="c")})
            ORDER BY priority DESC, job_id LIMIT 32
        ) line
    ), ranked AS MATERIALIZED (
        SELECT * FROM lines
        ORDER BY priority DESC, share, (checkpoint_id = :resident) DESC NULLS LAST, job_id, batch_key LIMIT 32
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
        SELECT c.job_id, c.batch_key, c.queued FROM claimant CROSS JOIN head JOIN counters c USING (batch_key)
        WHERE {_IS_CLAIMABLE}
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
          AND {_MAY_TRY.format(line="head")}
        ORDER BY t.seq LIMIT 1 FOR UPDATE OF t SKIP LOCKED
    )
    SELECT id, status FROM lone
    UNION ALL
    SELECT id, status FROM fresh WHERE NOT EXISTS (SELECT FROM lone)
"""

IS_ANYTHING_QUEUED = "SELECT EXISTS (SELECT FROM counters WHERE pool = :pool AND is_open AND has_queued)"
"""Whether a claim that got nothing may have looked at the wrong lines. One probe of an index."""
