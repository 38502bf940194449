"""Weights in the store: each file once, under its sha256, however many checkpoints share it.

An object is stored before the row that names it is committed, and is skipped where it exists already. So weights
must not be deleted while others are added: a process that adds holds a shared lock, one that deletes holds it
exclusively. Keys about to be stored are committed to `discards` first, and removed from there with the row: the
last process that adds deletes objects left by failures and by killed processes. Objects that this database has no
record of belong to another farm, and are left alone.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from sqlalchemy import Connection, delete, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.orm import Session

from farm.db.connection import Database
from farm.db.locks import Lock
from farm.db.tables.artifacts import Discard
from farm.errors import Conflict, FarmError
from farm.store.keys import WEIGHTS, weights_key, weights_sha256_sql
from farm.store.protocol import Store

MEDIA_TYPE = "application/octet-stream"

_PATIENCE_SECONDS = 10.0


@dataclass(frozen=True)
class StoredFile:
    """One file of weights: its path within its checkpoint, what it holds, and how many bytes."""

    path: str
    sha256: str
    size: int

    @property
    def key(self) -> str:
        return weights_key(self.sha256)


def read_files(column: Mapping[str, Any] | None) -> tuple[StoredFile, ...] | None:
    """The files of a checkpoint as its row holds them, by path; None for a folder registered in place."""
    if column is None:
        return None
    return tuple(
        StoredFile(_check_inside(path), str(file["sha256"]), int(file["size"]))
        for path, file in sorted(column.items())
    )


def as_column(files: Iterable[StoredFile]) -> dict[str, Any]:
    return {file.path: {"sha256": file.sha256, "size": file.size} for file in files}


def _check_inside(path: str) -> str:
    """A path that stays in its folder: a row must not choose where a worker writes."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\0" in path:
        raise FarmError(
            f"A checkpoint names a file {path!r}, which would be outside its folder. Remove it and add it again."
        )
    return path


def put_missing(
    store: Store, files: Iterable[StoredFile], folder: Path, on_put: Callable[[StoredFile], None]
) -> None:
    """Store the files of a folder that the store lacks. `on_put` is called with each, once it is stored."""
    for file in {file.sha256: file for file in files}.values():
        if not store.exists(file.key):
            store.put_file(file.key, folder / file.path, MEDIA_TYPE)
        on_put(file)


def announce(connection: Connection, files: Iterable[StoredFile]) -> None:
    """Commit the keys of files about to be stored. Call it within `hold_add_lock`."""
    with connection.begin():
        for file in files:
            connection.execute(insert(Discard).values(key=file.key).on_conflict_do_nothing())


def mark_named(session: Session, files: Iterable[StoredFile]) -> None:
    """Take announced files off the list of discards: a row of this transaction names them."""
    session.execute(delete(Discard).where(Discard.key.in_([file.key for file in files])))


@contextmanager
def hold_add_lock(database: Database) -> Iterator[Connection]:
    """Keep weights from being deleted meanwhile. Register with `Session(connection)`: a lost lock fails that too.

    Raises Conflict while weights are being deleted.
    """
    with _holding_lock(database, *_SHARED, patience_seconds=_PATIENCE_SECONDS) as connection:
        if connection is None:
            raise Conflict("Weights are being deleted now. Try again when that is done.")
        yield connection


def tidy(database: Database, store: Store) -> int:
    """Delete stored weights that were never registered; return how many. Does nothing while weights are added."""
    with _holding_lock(database, *_ALONE, patience_seconds=0) as connection:
        return _delete(_IN_VAIN, connection, store) if connection else 0


def prune(database: Database, store: Store) -> int:
    """Delete the weights that no registered name and no waiting image needs; return how many.

    Failed images that need them can no longer be retried. Raises Conflict while weights are added.
    """
    for table in ("checkpoints", "addons"):
        _wait_for_readers(database, table)
    with _holding_lock(database, *_ALONE, patience_seconds=_PATIENCE_SECONDS) as connection:
        if connection is None:
            raise Conflict("Weights are being added now. Try again when that is done.")
        return _delete(_UNUSED, connection, store)


def _delete(query: str, connection: Connection, store: Store) -> int:
    """Delete the objects whose hashes a query answers, those that exist; clear the list of discards."""
    with Session(connection) as session, session.begin():
        keys = [weights_key(sha256) for (sha256,) in session.execute(text(query))]
    gone = [key for key in keys if store.exists(key)]
    for key in gone:
        store.delete(key)
    with Session(connection) as session, session.begin():
        session.execute(delete(Discard).where(Discard.key.startswith(WEIGHTS)))
    return len(gone)


_NAMED = """
    SELECT file.sha256 #>> '{}' FROM checkpoints CROSS JOIN jsonb_path_query(files, '$.*.sha256') file (sha256)
    UNION SELECT sha256 FROM addons
"""

_IN_VAIN = f"""
    SELECT {weights_sha256_sql("key")} FROM discards WHERE starts_with(key, '{WEIGHTS}')
    EXCEPT ({_NAMED})
"""

# What claims and publishes appended of a line since its row was counted is in `deltas`.
_NEEDED = """
    SELECT file.sha256 #>> '{}' FROM checkpoints c CROSS JOIN jsonb_path_query(files, '$.*.sha256') file (sha256)
    WHERE removed_at IS NULL
       OR EXISTS (SELECT FROM counters l WHERE l.checkpoint_id = c.id AND l.queued + l.running + coalesce((
              SELECT sum(d.queued + d.running) FROM deltas d
              WHERE d.job_id = l.job_id AND d.batch_key = l.batch_key), 0) > 0)
    UNION
    SELECT sha256 FROM addons WHERE removed_at IS NULL
    UNION
    SELECT named.sha256 #>> '{}'
    FROM tasks CROSS JOIN jsonb_path_query(spec, '$.**.sha256') named (sha256)
    WHERE status IN ('queued', 'running') AND EXISTS (SELECT FROM addons WHERE removed_at IS NOT NULL)
"""


_UNUSED = f"(({_NAMED}) EXCEPT ({_NEEDED})) UNION ({_IN_VAIN})"


def _wait_for_readers(database: Database, table: str) -> None:
    """Return once every transaction that may have seen a name before it was removed has ended.

    A job that is being accepted names its checkpoint before it has the row that says so.
    """
    with database.begin() as session:
        session.execute(text("SET LOCAL lock_timeout = '3s'"))
        try:
            session.execute(text(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"))
        except DBAPIError as error:
            raise Conflict(f"Another transaction uses the table {table} now. Try again.") from error


_SHARED = ("pg_try_advisory_lock_shared", "pg_advisory_unlock_shared")
_ALONE = ("pg_try_advisory_lock", "pg_advisory_unlock")


@contextmanager
def _holding_lock(
    database: Database, lock: str, unlock: str, *, patience_seconds: float
) -> Iterator[Connection | None]:
    """A connection of our own that holds the lock, outside any transaction; None if it is not free in time."""
    with database.engine.connect() as connection:
        # Not returned to the pool: the lock ends with the connection in every case.
        connection.detach()
        deadline = time.monotonic() + patience_seconds
        while not (is_ours := _call_lock_function(connection, lock)) and time.monotonic() < deadline:
            time.sleep(0.1)
        try:
            yield connection if is_ours else None
        finally:
            # Closing alone would end it too, but only once the server has noticed.
            with suppress(SQLAlchemyError):
                if is_ours:
                    _call_lock_function(connection, unlock)


def _call_lock_function(connection: Connection, function: str) -> bool:
    with connection.begin():
        return bool(connection.execute(text(f"SELECT {function}(:lock)"), {"lock": Lock.WEIGHTS.value}).scalar())
