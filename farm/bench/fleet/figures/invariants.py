"""What must hold once all work is done, whatever the figures: each a query that finds what breaks it."""

from collections.abc import Mapping

from sqlalchemy import text
from sqlalchemy.orm import Session

# What an account moved by less is not stored.
_UNSTORED_SECONDS = 1.0

_COUNTS = ", ".join(
    f"count(*) FILTER (WHERE status = '{status}') AS {status}"
    for status in ("queued", "running", "succeeded", "failed", "cancelled")
)

INVARIANTS: Mapping[str, str] = {
    "each task is published exactly once": """
        SELECT count(*) FROM tasks t LEFT JOIN results r ON r.task_id = t.id AND r.attempt = t.attempt
        WHERE t.status <> 'succeeded' OR r.task_id IS NULL
           OR 1 <> (SELECT count(*) FROM attempts a WHERE a.task_id = t.id AND a.outcome = 'succeeded')
    """,
    "no object is without a result": """
        SELECT count(*) FROM (
            SELECT id FROM artifacts WHERE role IN ('result', 'thumbnail')
            EXCEPT (SELECT image_id FROM results UNION ALL SELECT thumbnail_id FROM results)
        ) o
    """,
    "no task runs": "SELECT count(*) FROM tasks WHERE status = 'running'",
    "no attempt is open": "SELECT count(*) FROM attempts WHERE outcome = 'running' OR ended_at IS NULL",
    "every job is finished": "SELECT count(*) FROM jobs WHERE status <> 'succeeded' OR finished_at IS NULL",
    "the counters equal a count of the tasks": f"""
        SELECT count(*) FROM counters c FULL JOIN (
            SELECT job_id, batch_key, {_COUNTS} FROM tasks GROUP BY job_id, batch_key
        ) t USING (job_id, batch_key)
        WHERE (c.queued, c.running, c.succeeded, c.failed, c.cancelled)
           IS DISTINCT FROM (t.queued, t.running, t.succeeded, t.failed, t.cancelled)
    """,
    "every delta is folded": "SELECT count(*) FROM deltas",
    "every charge is settled": f"""
        SELECT count(*) FROM (
            SELECT j.owner_id, sum(a.gpu_seconds) AS seconds
            FROM attempts a JOIN tasks t ON t.id = a.task_id JOIN jobs j ON j.id = t.job_id GROUP BY j.owner_id
        ) used FULL JOIN (
            SELECT owner_id, sum(used_seconds) AS seconds FROM shares GROUP BY owner_id
        ) charged USING (owner_id)
        WHERE abs(coalesce(used.seconds, 0) - coalesce(charged.seconds, 0)) > {_UNSTORED_SECONDS}
    """,
}


def find_broken(session: Session) -> dict[str, int]:
    """The invariants that are broken, each with how many rows break it."""
    found = {name: session.execute(text(query)).scalar_one() for name, query in INVARIANTS.items()}
    return {name: count for name, count in found.items() if count}
