"""What came of the estimates: when each job really started and ended."""

from collections.abc import Collection

from sqlalchemy import text
from sqlalchemy.orm import Session

OVERLAP_SECONDS = 300
"""A transaction that ended a job may have taken long to commit."""
_FIRST_TASKS = 16
_MOST = 5_000

_START = text(
    """
    UPDATE estimates SET started_at = now()
    WHERE job_id IN (SELECT job_id FROM estimates
                     WHERE job_id = ANY(:jobs) AND started_at IS NULL ORDER BY job_id FOR UPDATE SKIP LOCKED)
    """
)
_SINCE = text(
    "SELECT extract(epoch FROM coalesce(max(ended_at), now() - interval '30 days'))::float8 FROM estimates"
)
# A job that started unseen, while nobody led, started with the first tries of its first images.
_END = text(
    f"""
    UPDATE estimates e
    SET ended_at = j.finished_at, started_at = coalesce(e.started_at, (
        SELECT min(a.started_at) FROM tasks t JOIN attempts a ON a.task_id = t.id
        WHERE t.job_id = j.id AND t.seq < {_FIRST_TASKS}))
    FROM (
        SELECT j.id, j.finished_at FROM jobs j JOIN estimates o ON o.job_id = j.id
        WHERE j.finished_at > to_timestamp(:since) AND o.ended_at IS NULL
        ORDER BY j.id LIMIT {_MOST} FOR UPDATE OF o SKIP LOCKED
    ) j
    WHERE e.job_id = j.id
    """
)


def note_starts(session: Session, jobs: Collection[int]) -> None:
    """Images of these jobs were claimed: those that had not started have started now."""
    if jobs:
        session.execute(_START, {"jobs": sorted(jobs)})


def last_noted_end(session: Session) -> float:
    """When the last job ended whose end is noted: Unix time."""
    last: float = session.execute(_SINCE).scalar_one()
    return last - OVERLAP_SECONDS


def note_ends(session: Session, since: float) -> int:
    """Note the jobs that ended since then; return how many there were."""
    return session.connection().execute(_END, {"since": since}).rowcount
