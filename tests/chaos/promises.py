"""What must be true of a farm at rest, looked up in its database and its store alone."""

import hashlib
import io
from collections.abc import Iterator

import numpy as np
from PIL import Image
from sqlalchemy import text
from sqlalchemy.orm import Session

from farm.db.connection import Database
from farm.errors import ObjectMissing
from farm.spec.modes import read_spec
from farm.store.protocol import Store
from tests.chaos.null_renderer import noise
from tests.factories import STATUSES

_RECOUNT = ", ".join(f"count(*) FILTER (WHERE status = '{status}') AS {status}" for status in STATUSES)

# Each finds rows that must not be; the first column says which.
_FORBIDDEN = {
    "a task is not final": "SELECT id FROM tasks WHERE status IN ('queued', 'running')",
    "a job is not final": "SELECT id FROM jobs WHERE finished_at IS NULL",
    "a task that succeeded has no result": (
        "SELECT id FROM tasks LEFT JOIN results ON task_id = id WHERE status = 'succeeded' AND task_id IS NULL"
    ),
    "a task has a result and did not succeed": (
        "SELECT id FROM tasks JOIN results ON task_id = id WHERE status <> 'succeeded'"
    ),
    "a result is not of an attempt that succeeded": (
        "SELECT r.task_id FROM results r LEFT JOIN attempts a ON (a.task_id, a.number) = (r.task_id, r.attempt) "
        "WHERE a.outcome IS DISTINCT FROM 'succeeded'"
    ),
    "an attempt that succeeded has no result": (
        "SELECT a.task_id FROM attempts a LEFT JOIN results r ON (a.task_id, a.number) = (r.task_id, r.attempt) "
        "WHERE a.outcome = 'succeeded' AND r.task_id IS NULL"
    ),
    "an attempt is not closed": ("SELECT task_id FROM attempts WHERE outcome = 'running' OR ended_at IS NULL"),
    "a task's attempts are not counted as they were made": (
        "SELECT t.id FROM tasks t LEFT JOIN attempts a ON a.task_id = t.id "
        "GROUP BY t.id HAVING t.attempt <> count(a) OR t.attempt <> coalesce(max(a.number), 0)"
    ),
    "counters differ from a recount": (
        f"SELECT job_id FROM line_counts c JOIN LATERAL (SELECT {_RECOUNT} FROM tasks t "
        "WHERE (t.job_id, t.batch_key) = (c.job_id, c.batch_key)) n ON true "
        "WHERE (c.queued, c.running, c.succeeded, c.failed, c.cancelled) "
        "<> (n.queued, n.running, n.succeeded, n.failed, n.cancelled)"
    ),
}


def broken(database: Database, store: Store) -> list[str]:
    """The promises that are broken, one line each; empty if none is."""
    with database.begin() as session:
        rows = list(wrong_rows(session))
    return [*rows, *wrong_images(database, store)]


def wrong_rows(session: Session) -> Iterator[str]:
    for what, query in _FORBIDDEN.items():
        if found := session.execute(text(query)).scalars().all():
            yield f"{what}: {found[:10]} ({len(found)} in all)"


def wrong_images(database: Database, store: Store) -> Iterator[str]:
    """Every result's object is there, is what the database says, and shows the image that was asked for.

    No transaction is open meanwhile: of thousands of images it would be taken for a forgotten one.
    """
    query = (
        "SELECT t.id, t.spec, i.key, i.sha256, i.size_bytes, n.key AS thumbnail_key, n.sha256 AS thumbnail_sha256 "
        "FROM results r JOIN tasks t ON t.id = r.task_id "
        "JOIN artifacts i ON i.id = image_id JOIN artifacts n ON n.id = thumbnail_id"
    )
    with database.begin() as session:
        rows = session.execute(text(query)).all()
    for row in rows:
        try:
            image, thumbnail = store.get(row.key), store.get(row.thumbnail_key)
        except ObjectMissing as error:
            yield f"task {row.id}: {error}"
            continue
        if (len(image), sha256(image)) != (row.size_bytes, row.sha256):
            yield f"task {row.id}: the stored image is not the one that was published"
        if sha256(thumbnail) != row.thumbnail_sha256:
            yield f"task {row.id}: the stored thumbnail is not the one that was published"
        if not np.array_equal(np.asarray(Image.open(io.BytesIO(image))), noise(read_spec(row.spec))):
            yield f"task {row.id}: the image is another task's"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
