"""Weights in the store: each file once, under its sha256, however many checkpoints share it.

An object is put before the row that names it is committed, and is passed over where it is there already. So
nobody may delete weights while somebody adds: who adds holds a lock that many can share, who deletes holds it
alone. What is about to be put is committed to `discards` first, and taken out of there with the row: whoever
adds last tidies up what was put in vain, by failures and by processes that were killed. What this database
never heard of is somebody else's, and is left alone.
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
    """The files of a checkpoint as its row holds them, by their paths; None for a folder that has its own place."""
    if column is None:
        return None
    return tuple(
        StoredFile(_inside(path), str(file["sha256"]), int(file["size"])) for path, file in sorted(column.items())
    )


def as_column(files: Iterable[StoredFile]) -> dict[str, Any]:
    return {file.path: {"sha256": file.sha256, "size": file.size} for file in files}


def _inside(path: str) -> str:
    """A path that stays in its folder: a row is not to choose where a worker writes."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\0" in path:
        raise FarmError(f"A checkpoint names a file {path!r}, which would lie outside of its folder.")
    return path


def put_missing(
    store: Store, files: Iterable[StoredFile], folder: Path, on_put: Callable[[StoredFile], None]
) -> None:
    """Keep the files of a folder that the store has not. `on_put` is told of each, once it is there."""
    for file in {file.sha256: file for file in files}.values():
        if not store.exists(file.key):
            store.put_file(file.key, folder / file.path, MEDIA_TYPE)
        on_put(file)


def announce(connection: Connection, files: Iterable[StoredFile]) -> None:
    """Commit what is about to be put. Call it while `adding`."""
    with connection.begin():
        for file in files:
            connection.execute(insert(Discard).values(key=file.key).on_conflict_do_nothing())


def settle(session: Session, files: Iterable[StoredFile]) -> None:
    """What was announced is named by a row of this transaction."""
    session.execute(delete(Discard).where(Discard.key.in_([file.key for file in files])))


@contextmanager
def adding(database: Database) -> Iterator[Connection]:
    """Nobody deletes weights meanwhile. Register with `Session(connection)`: if the lock is lost, so is that.

    Raises Conflict while weights are being deleted.
    """
    with _locked(database, *_SHARED, patience_seconds=_PATIENCE_SECONDS) as connection:
        if connection is None:
            raise Conflict("Weights are being deleted now. Try again when that is done.")
        yield connection


def tidy(database: Database, store: Store) -> int:
    """Delete the weights that were put in vain; return how many. None are touched while somebody adds."""
    with _locked(database, *_ALONE, patience_seconds=0) as connection:
        return _delete(_IN_VAIN, connection, store) if connection else 0


def prune(database: Database, store: Store) -> int:
    """Delete the weights that no name leads to and no image waits for; return how many.

    What failed can then no more be tried again with them. Raises Conflict while somebody adds.
    """
    for table in ("checkpoints", "addons"):
        _wait_for_readers(database, table)
    with _locked(database, *_ALONE, patience_seconds=_PATIENCE_SECONDS) as connection:
        if connection is None:
            raise Conflict("Weights are being added now. Try again when that is done.")
        return _delete(_UNUSED, connection, store)


def _delete(query: str, connection: Connection, store: Store) -> int:
    """Delete the objects whose hashes a query answers, those that are there; forget what was announced of all."""
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

_NEEDED = """
    SELECT file.sha256 #>> '{}' FROM checkpoints c CROSS JOIN jsonb_path_query(files, '$.*.sha256') file (sha256)
    WHERE removed_at IS NULL
       OR EXISTS (SELECT FROM counters WHERE checkpoint_id = c.id AND queued + running > 0)
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
            raise Conflict(f"Somebody else works with the {table} now. Try again.") from error


_SHARED = ("pg_try_advisory_lock_shared", "pg_advisory_unlock_shared")
_ALONE = ("pg_try_advisory_lock", "pg_advisory_unlock")


@contextmanager
def _locked(database: Database, lock: str, unlock: str, *, patience_seconds: float) -> Iterator[Connection | None]:
    """A connection of our own that holds the lock, outside any transaction; None if it is not to be had in time."""
    with database.engine.connect() as connection:
        # Not given back to the pool: whatever happens, the lock ends with it.
        connection.detach()
        deadline = time.monotonic() + patience_seconds
        while not (is_ours := _call(connection, lock)) and time.monotonic() < deadline:
            time.sleep(0.1)
        try:
            yield connection if is_ours else None
        finally:
            # Closing alone would end it too, but only once the server has noticed.
            with suppress(SQLAlchemyError):
                if is_ours:
                    _call(connection, unlock)


def _call(connection: Connection, function: str) -> bool:
    with connection.begin():
        return bool(connection.execute(text(f"SELECT {function}(:lock)"), {"lock": Lock.WEIGHTS.value}).scalar())
