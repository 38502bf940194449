"""What may be claimed: when a line (the tasks of one job and batch key) is ready, and which worker suits it.

That a line is ready is a flag, `is_ready`, so that the indexes of a claim hold nothing else. It is flipped by what
people do to a job (`farm.queue.offers.readiness`), and where a time has come by the keeper
(`farm.queue.offers.corrections`).

A worker suits a line unless it is kept from the line's checkpoint or is known to have too little memory for it. One
that does not suit it leaves it to those that do, as long as there are such; so no line is left by all. In the same
way a task that failed on a worker, or lost it, is left to suitable workers that did not try it yet, but only for
some minutes: they may be busy with other work.

Here is SQL about one line at a time, for the few that a claim considers. It expects the CTEs `claimant`,
`kept_from` and `too_large` of `farm.queue.offers.candidates`, and stops at the first other worker that suits.
"""

from sqlalchemy import Boolean, ColumnElement, literal_column

from farm.queue.workers.exclusions import is_in_force_sql, is_recent_sql
from farm.queue.workers.fleet import is_ready_sql, is_up_sql

LEFT_SECONDS = 600.0
"""How long a task is left to others after it failed on a worker."""


def is_claimable_sql(line: str) -> str:
    """SQL for whether tasks of a line may be claimed now, by some worker. `line` names a row of `counters`.

    An older portal pauses a job by `is_open` alone, so that is read beside the flag.
    """
    return f"{line}.is_ready AND {line}.has_queued AND {line}.is_open"


def is_claimable() -> ColumnElement[bool]:
    """Whether tasks of a row of `counters` may be claimed now, by some worker."""
    return literal_column(f"({is_claimable_sql('counters')})", Boolean())


def is_due_sql(line: str) -> str:
    """SQL for what `is_ready` is to say: whether a line is open, and its time has come."""
    return f"{line}.is_open AND ({line}.not_before IS NULL OR {line}.not_before <= now())"


def is_to_wake_sql(line: str) -> str:
    """SQL for whether a line should be ready and is not."""
    has_come = f"coalesce({line}.not_before, '-infinity') <= now()"
    return f"{line}.is_open AND {has_come} AND {line}.has_queued AND NOT {line}.is_ready"


def is_untried_sql(task: str, line: str) -> str:
    """SQL for the queued tasks of a line that nobody tried in vain: these may share a batch."""
    return f"{_is_queued_sql(task, line)} AND NOT {task}.runs_alone"


def is_lone_sql(task: str, line: str) -> str:
    """SQL for those whose last try failed or lost its worker: each is tried alone, and harms no batch mates."""
    return f"{_is_queued_sql(task, line)} AND {task}.runs_alone"


def has_a_lone_task_sql(line: str) -> str:
    """SQL for whether a line has a queued task whose last try failed or lost its worker."""
    return f"EXISTS (SELECT FROM tasks t WHERE {is_lone_sql('t', line)})"


def _is_queued_sql(task: str, line: str) -> str:
    return f"{task}.job_id = {line}.job_id AND {task}.batch_key = {line}.batch_key AND {task}.status = 'queued'"


def suits_claimant_sql(line: str) -> str:
    """SQL for whether the claimant suits a line, or nobody else does."""
    return f"""
        ((NOT EXISTS (SELECT FROM kept_from k WHERE k.checkpoint_id = {line}.checkpoint_id)
          AND NOT EXISTS (
              SELECT FROM too_large l JOIN checkpoints p ON p.family = l.family
              WHERE p.id = {line}.checkpoint_id AND {line}.pixels >= l.pixels))
         OR NOT EXISTS ({_others_suiting_sql(line)}))"""


def may_try_sql(task: str, line: str) -> str:
    """SQL for whether the claimant may try a task that runs alone: it did not fail it, or all that suit it did."""
    # OFFSET 0 keeps Postgres from reading all that ever failed on the worker, for one task.
    return f"""
        (NOT EXISTS (
            SELECT FROM attempts a JOIN workers w ON w.id = a.worker_id
            WHERE a.task_id = {task}.id AND a.outcome IN ('failed', 'lost') AND w.name = (SELECT name FROM claimant)
              AND a.ended_at > now() - make_interval(secs => {LEFT_SECONDS}) OFFSET 0)
         OR NOT EXISTS (
            {_others_suiting_sql(line)}
              AND NOT EXISTS (
                  SELECT FROM attempts a JOIN workers w ON w.id = a.worker_id
                  WHERE a.task_id = {task}.id AND a.outcome IN ('failed', 'lost') AND w.name = o.name OFFSET 0)))"""


def _others_suiting_sql(line: str) -> str:
    """A query of the other workers that are ready for work and suit a line: what is left, they take."""
    return f"""
            SELECT FROM workers o
            WHERE o.pool = :pool AND {is_up_sql("o")} AND {is_ready_sql("o")}
              AND o.name <> (SELECT name FROM claimant)
              AND NOT EXISTS (
                  SELECT FROM exclusions x
                  WHERE x.worker_name = o.name AND {is_in_force_sql("x")}
                    AND (x.checkpoint_id IS NULL OR x.checkpoint_id = {line}.checkpoint_id) OFFSET 0)
              AND NOT EXISTS (
                  SELECT FROM memory_limits l JOIN checkpoints p ON p.family = l.family
                  WHERE l.worker_name = o.name AND {is_recent_sql("l")}
                    AND p.id = {line}.checkpoint_id AND {line}.pixels >= l.pixels OFFSET 0)"""


def has_a_device_left_sql(line: str) -> str:
    """SQL for whether the claimant would not be one device more than the line's job may have."""
    return f"""
        ({line}.max_devices IS NULL
         OR (SELECT count(DISTINCT worker_id) FROM tasks
             WHERE job_id = {line}.job_id AND status = 'running' AND worker_id <> :claimant
            ) < {line}.max_devices)"""


def has_a_task_sql(line: str) -> str:
    """SQL for whether a line has a task for the claimant. The line's own count may lag behind by a second."""
    return f"""
        (EXISTS (SELECT FROM tasks t WHERE {is_untried_sql("t", line)})
         OR EXISTS (
            SELECT FROM (SELECT id FROM tasks t WHERE {is_lone_sql("t", line)} ORDER BY seq LIMIT 32) t
            WHERE {may_try_sql("t", line)}))"""
