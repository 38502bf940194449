"""What is kept for how long: old events, attempts, jobs and uploads are deleted, a little at a time.

Each function is one short transaction's work. Several keepers may do it at once: what another one has
in hand is passed over.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Delete, delete, func, or_, select, text, tuple_
from sqlalchemy.orm import Session
from sqlalchemy.sql.elements import ColumnElement

from farm.db.events import record
from farm.db.tables.artifacts import Discard, JobInput, Upload
from farm.db.tables.jobs import Attempt, Event, Job, Task
from farm.queue import lifecycle
from farm.store.keys import GRIDS, INPUTS, WEIGHTS

_BATCH = 1000


def prune_events(session: Session, days: int, limit: int = _BATCH) -> int:
    """Delete the oldest events that are older than so many days; return how many."""
    old = (
        select(Event.id)
        .where(Event.created_at < _days_ago(days))
        .order_by(Event.created_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return _delete(session, delete(Event).where(Event.id.in_(session.scalars(old).all())))


def prune_attempts(session: Session, days: int, limit: int = _BATCH) -> int:
    """Delete attempts that brought no image, of jobs that ended so many days ago; return how many."""
    old = (
        select(Attempt.task_id, Attempt.number)
        .join(Task, Task.id == Attempt.task_id)
        .join(Job, Job.id == Task.job_id)
        .where(
            Attempt.outcome.not_in(("running", "succeeded")),
            # Implied by the job's end, but this is what there is an index on.
            Attempt.ended_at < _days_ago(days),
            Job.finished_at < _days_ago(days),
        )
        .order_by(Attempt.ended_at)
        .limit(limit)
        .with_for_update(of=Attempt, skip_locked=True)
    )
    keys = [tuple(row) for row in session.execute(old)]
    return _delete(session, delete(Attempt).where(tuple_(Attempt.task_id, Attempt.number).in_(keys)))


def old_jobs(session: Session, days: int, limit: int = 20) -> Sequence[int]:
    """The jobs that ended longest ago, of those that ended so many days ago."""
    query = select(Job.id).where(Job.finished_at < _days_ago(days)).order_by(Job.finished_at).limit(limit)
    return session.scalars(query).all()


def delete_job(session: Session, job_id: int, days: int) -> bool:
    """Delete a job with all it has, if it is still that old; its objects are left to `discards`.

    What a retry would lock is locked first, in the order in which a retry does: the two cannot deadlock.
    """
    session.execute(lifecycle.lock(lifecycle.RETRY, Task.job_id == job_id)).all()
    is_old = (
        select(Job.id).where(Job.id == job_id, Job.finished_at < _days_ago(days)).with_for_update(skip_locked=True)
    )
    if session.execute(is_old).first() is None:
        return False
    # 100,000 images take 7 s on two cores, and a job may have a million. Nobody waits for these rows.
    session.execute(text("SET LOCAL statement_timeout = '4min'"))
    session.execute(_DISCARD_OBJECTS, {"job_id": job_id})
    _delete(session, delete(Job).where(Job.id == job_id))
    record(session, "job.deleted", reason=f"job {job_id} ended more than {days} days ago")
    return True


_DISCARD_OBJECTS = text(
    """
    WITH gone AS (
        DELETE FROM results USING tasks WHERE tasks.id = results.task_id AND tasks.job_id = :job_id
        RETURNING image_id, thumbnail_id
    ), undrawn AS (
        DELETE FROM grids WHERE job_id = :job_id RETURNING artifact_id
    ), freed AS (
        DELETE FROM artifacts USING (
            SELECT image_id AS id FROM gone
            UNION ALL SELECT thumbnail_id FROM gone
            UNION ALL SELECT artifact_id FROM undrawn
        ) g
        WHERE artifacts.id = g.id RETURNING key
    )
    INSERT INTO discards (key) SELECT key FROM freed
    """
)


def prune_uploads(session: Session, hours: int, limit: int = _BATCH) -> int:
    """Delete uploads that no job needs and nobody sent for so many hours; return how many.

    Their objects are left to `discards`. Two statements: once the rows are locked no job can come to need
    one, and the second sees every job that did before.
    """
    is_needed = select(JobInput).where(JobInput.sha256 == Upload.sha256).exists()
    unused = (
        select(Upload.sha256)
        .where(Upload.used_at < func.now() - func.make_interval(0, 0, 0, 0, hours), ~is_needed)
        .order_by(Upload.used_at)
        .limit(limit)
        .with_for_update(of=Upload, skip_locked=True)
    )
    digests = session.scalars(unused).all()
    return session.connection().execute(_DISCARD_UPLOADS, {"digests": list(digests)}).rowcount


_DISCARD_UPLOADS = text(
    """
    WITH gone AS (
        DELETE FROM uploads u WHERE u.sha256 = ANY(:digests)
        AND NOT EXISTS (SELECT FROM job_inputs i WHERE i.sha256 = u.sha256)
        RETURNING u.artifact_id
    ), freed AS (
        DELETE FROM artifacts USING gone WHERE artifacts.id = gone.artifact_id RETURNING key
    )
    INSERT INTO discards (key) SELECT key FROM freed
    """
)


def discarded_keys(session: Session, after: str = "", limit: int = 100) -> Sequence[str]:
    """Objects that are to be deleted from the store, in the order of their keys.

    Uploads, weights and grids have rules of their own.
    """
    is_others = or_(*(Discard.key.startswith(prefix) for prefix in (INPUTS, WEIGHTS, GRIDS)))
    keys = select(Discard.key).where(~is_others, Discard.key > after).order_by(Discard.key)
    return session.scalars(keys.limit(limit)).all()


def forget_discarded(session: Session, keys: Sequence[str]) -> None:
    """These objects are deleted. Before, a crash would only have them deleted again."""
    _delete(session, delete(Discard).where(Discard.key.in_(keys)))


def _delete(session: Session, statement: Delete) -> int:
    return session.connection().execute(statement).rowcount


def _days_ago(days: int) -> ColumnElement[datetime]:
    return func.now() - func.make_interval(0, 0, 0, days)
