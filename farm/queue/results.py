"""The rows of published images: their artifacts and results, and the attempts that brought them.

Each is written by one statement, however many images are published together.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, select, text
from sqlalchemy.orm import Session

from farm.db.tables.artifacts import Result
from farm.db.tables.jobs import Task
from farm.queue.claimed import AttemptKey, Held, is_one_of
from farm.queue.counts.lines import Change, LineKey, Sample
from farm.queue.lifecycle import Moved


@dataclass(frozen=True)
class StoredObject:
    """An object that has been uploaded: what the database must know of it."""

    role: str
    key: str
    sha256: str
    size_bytes: int
    media_type: str
    width: int
    height: int


@dataclass(frozen=True)
class Finished:
    """An attempt whose image has been uploaded, with all that its publication says.

    `timings` are those of its batch, in seconds; `gpu_seconds` is its own part of the device's time. `relief` names
    what was done where memory was short.
    """

    lease: Held
    image: StoredObject
    thumbnail: StoredObject
    provenance: Mapping[str, Any]
    timings: Mapping[str, float]
    gpu_seconds: float
    relief: Sequence[str] = ()


_STORE = text(
    """
    WITH stored AS (
        INSERT INTO artifacts (role, key, sha256, size_bytes, media_type, width, height)
        SELECT role, key, sha256, size_bytes, media_type, width, height
        FROM jsonb_to_recordset(CAST(:objects AS jsonb)) AS o(
            role text, key text, sha256 text, size_bytes bigint, media_type text, width integer, height integer)
        RETURNING id, key
    )
    INSERT INTO results (task_id, attempt, image_id, thumbnail_id, provenance)
    SELECT r.task_id, r.attempt, i.id, t.id, r.provenance
    FROM jsonb_to_recordset(CAST(:results AS jsonb)) AS r(
        task_id bigint, attempt integer, image_key text, thumbnail_key text, provenance jsonb)
    JOIN stored i ON i.key = r.image_key JOIN stored t ON t.key = r.thumbnail_key
    """
)


def store(session: Session, finished: Iterable[Finished]) -> None:
    """Insert the artifacts and the results of images whose tasks are locked."""
    finished = list(finished)
    results = [
        {
            "task_id": one.lease.task_id,
            "attempt": one.lease.attempt,
            "image_key": one.image.key,
            "thumbnail_key": one.thumbnail.key,
            "provenance": dict(one.provenance),
        }
        for one in finished
    ]
    objects = [vars(stored) for one in finished for stored in (one.image, one.thumbnail)]
    session.execute(_STORE, {"objects": json.dumps(objects), "results": json.dumps(results)})


_END = text(
    """
    UPDATE attempts a
    SET outcome = 'succeeded', ended_at = clock_timestamp(), gpu_seconds = e.gpu_seconds, timings = e.timings,
        relief = e.relief
    FROM jsonb_to_recordset(CAST(:ended AS jsonb)) AS e(
        task_id bigint, number integer, gpu_seconds float8, timings jsonb, relief text[])
    WHERE a.task_id = e.task_id AND a.number = e.number AND a.outcome = 'running'
    RETURNING a.task_id, a.number, a.worker_id, a.batch_size, a.started_at,
              a.gpu_seconds - coalesce(a.charged_seconds, 0) AS owed
    """
)


def end(session: Session, moved: Sequence[Moved], finished: Mapping[AttemptKey, Finished]) -> list[Change]:
    """Close the attempts of published tasks; return what their lines are still charged, and what was measured."""
    ended = [
        {
            "task_id": m.task_id,
            "number": m.attempt,
            "gpu_seconds": finished[m.task_id, m.attempt].gpu_seconds,
            "timings": dict(finished[m.task_id, m.attempt].timings),
            "relief": list(finished[m.task_id, m.attempt].relief) or None,
        }
        for m in moved
    ]
    lines = {(m.task_id, m.attempt): m.line for m in moved}
    batches: dict[Any, list[Row[Any]]] = defaultdict(list)
    for row in session.execute(_END, {"ended": json.dumps(ended)}):
        # A claim opens the attempts of its batch in one transaction, which has one time.
        batches[row.worker_id, row.started_at].append(row)
    return [change for rows in batches.values() for change in _changes(rows, lines, finished)]


def _changes(
    rows: Sequence[Row[Any]], lines: Mapping[AttemptKey, LineKey], finished: Mapping[AttemptKey, Finished]
) -> Iterable[Change]:
    """What the lines of one batch owe; the first of them also says what the batch took."""
    owed: dict[LineKey, float] = defaultdict(float)
    for row in rows:
        owed[lines[row.task_id, row.number]] += row.owed
    first = rows[0]
    timings = finished[first.task_id, first.number].timings
    sample = Sample(first.worker_id, len(rows), first.batch_size, timings.get("render"), timings.get("load"))
    for number, (line, seconds) in enumerate(owed.items()):
        yield Change(line, charged_seconds=seconds, sample=None if number else sample)


def published(session: Session, task_ids: Iterable[int]) -> set[AttemptKey]:
    """The attempts whose images are the results of these tasks."""
    query = select(Result.task_id, Result.attempt).where(Result.task_id.in_(list(task_ids)))
    return {(task_id, attempt) for task_id, attempt in session.connection().execute(query)}


def running(session: Session, attempts: Iterable[AttemptKey]) -> set[AttemptKey]:
    """Those of the attempts that still run, read without a lock."""
    query = select(Task.id, Task.attempt).where(is_one_of(attempts), Task.status == "running")
    return {(task_id, attempt) for task_id, attempt in session.connection().execute(query)}
