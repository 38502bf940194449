"""A lock on one object's key in the store, for what Postgres and the store must do together.

It is a lock of the Postgres session, not of a transaction: none is held open while the store works.
It ends with its connection, so what must not be done without it is done on that connection.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, func, select
from sqlalchemy.sql.elements import ColumnElement

from farm.db.connection import Database
from farm.db.locks import Lock
from farm.db.pooler import require_session


@contextmanager
def holding(database: Database, key: str) -> Iterator[Connection]:
    """A connection that holds the lock on a key, no transaction open on it; waits for who holds it now."""
    with database.engine.connect() as connection:
        require_session(connection)
        with connection.begin():
            connection.execute(select(func.pg_advisory_lock(Lock.OBJECT.value, _number(key))))
        with _until_done(connection, key):
            yield connection


@contextmanager
def trying(database: Database, key: str) -> Iterator[Connection | None]:
    """As `holding`, but None where somebody else holds the lock now."""
    with database.engine.connect() as connection:
        require_session(connection)
        with connection.begin():
            has_lock = connection.execute(
                select(func.pg_try_advisory_lock(Lock.OBJECT.value, _number(key)))
            ).scalar_one()
        if not has_lock:
            yield None
            return
        with _until_done(connection, key):
            yield connection


@contextmanager
def _until_done(connection: Connection, key: str) -> Iterator[None]:
    try:
        yield
    finally:
        if not connection.invalidated:
            with connection.begin():
                connection.execute(select(func.pg_advisory_unlock(Lock.OBJECT.value, _number(key))))


def _number(key: str) -> ColumnElement[int]:
    """The lock's number. Two keys that share one only wait for each other now and then."""
    return func.hashtext(key)
