"""What came of the estimates: when each job really started and ended."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

OVERLAP_SECONDS = 300
"""A transaction that ended a job may have taken long to commit."""
_FIRST_TASKS = 16
MOST = 5_000
"""So many ends are noted at once."""

# Whatever was appended of a job, it began with a claim.
_START = text(
    """
    UPDATE estimates e SET started_at = n.started_at
    FROM (
        SELECT o.job_id, d.started_at
        FROM unnest(CAST(:job_ids AS bigint[]), CAST(:times AS timestamptz[])) AS d(job_id, started_at)
        JOIN estimates o USING (job_id)
        WHERE o.started_at IS NULL ORDER BY o.job_id FOR UPDATE OF o SKIP LOCKED
    ) n
    WHERE e.job_id = n.job_id
    """
)
_SINCE = text(
    "SELECT extract(epoch FROM least(coalesce(max(ended_at), now() - interval '30 days'), now()))::float8 "
    "FROM estimates"
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
        ORDER BY j.id LIMIT {MOST} FOR UPDATE OF o SKIP LOCKED
    ) j
    WHERE e.job_id = j.id
    """
)


def note_starts(session: Session, starts: Mapping[int, datetime]) -> None:
    """Note which jobs started, by the times of what was first folded of them; what is noted stays."""
    if starts:
        session.execute(_START, {"job_ids": list(starts), "times": list(starts.values())})


def last_noted_end(session: Session) -> float:
    """When the last job ended whose end is noted: Unix time."""
    last: float = session.execute(_SINCE).scalar_one()
    return last - OVERLAP_SECONDS


def note_ends(session: Session, since: float) -> int:
    """Note the jobs that ended since then; return how many there were."""
    return session.connection().execute(_END, {"since": since}).rowcount
