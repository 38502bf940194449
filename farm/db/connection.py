"""Connections to Postgres, each with the timeouts its kind of process needs."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Any

import psycopg
from sqlalchemy import Engine, NullPool, create_engine, func, select, text
from sqlalchemy.exc import DBAPIError, InterfaceError, InternalError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session, sessionmaker

from farm.config import Settings
from farm.db import pooler
from farm.db.locks import Lock


@dataclass(frozen=True)
class Limits:
    """How long one statement, one transaction and one wait for a lock may take, and how many connections there are.

    None may go on for ever: an open transaction keeps Postgres from tidying up, and every claim pays for that.
    `idle_seconds` is how long a transaction may be open with nothing going on in it: a process that freezes
    in one, or is cut off from Postgres, holds its locks for so long, and others wait for them. `pool_size`
    connections are kept open, or none where it is 0; `overflow` more are opened where those are in use. With
    `waits_for_disk` False a commit returns before it is on disk: a crash of Postgres may take back what its last
    moments brought.
    """

    statement: str
    transaction: str
    lock: str
    idle_seconds: int
    pool_size: int
    overflow: int = 4
    waits_for_disk: bool = True


class Role(Enum):
    """A kind of process and its limits."""

    PORTAL = Limits("30s", "2min", "5s", 30, 20)
    # A device has two connections, however many threads its process has: Postgres has some hundred for all. The
    # heartbeat's is its own, so that nothing slow can hold up a lease. It is said again in seconds, and hundreds a
    # second would wait for the disk before all claims.
    WORKER = Limits("10s", "1min", "5s", 5, 1, overflow=0)
    HEARTBEAT = Limits("10s", "20s", "5s", 5, 1, overflow=0, waits_for_disk=False)
    # The parent of a machine's workers has little to ask: a connection only while it does.
    PARENT = Limits("10s", "1min", "5s", 5, 0)
    KEEPER = Limits("60s", "5min", "5s", 5, 2)
    TOOL = Limits("10min", "15min", "10s", 30, 4)


class Database:
    """One process's pool of connections. `begin()` is a transaction: it commits on leaving, or rolls back."""

    def __init__(self, url: str, role: Role) -> None:
        self.url = url
        self.role = role

    @classmethod
    def of(cls, settings: Settings, role: Role) -> "Database":
        return cls(settings.required_database_url, role)

    @cached_property
    def engine(self) -> Engine:
        limits = self.role.value
        postgres_settings = {
            "statement_timeout": limits.statement,
            "lock_timeout": limits.lock,
            "idle_in_transaction_session_timeout": f"{limits.idle_seconds}s",
            "timezone": "UTC",
            # The claim's cost is estimated by all owners: compiling it would take longer than it does.
            "jit": "off",
            **({} if limits.waits_for_disk else {"synchronous_commit": "off"}),
        }
        engine = create_engine(
            driver_url(self.url),
            **_pool(limits),
            connect_args={
                "application_name": f"farm-{self.role.name.lower()}",
                "connect_timeout": 5,
                # A peer that vanished without a word is noticed in seconds, not in TCP's two hours.
                "keepalives_idle": 10,
                "keepalives_interval": 5,
                "keepalives_count": 3,
                "tcp_user_timeout": 20_000,
            },
        )
        pooler.apply_settings(engine, postgres_settings, limits.transaction)
        return engine

    @contextmanager
    def begin(self) -> Iterator[Session]:
        with self._sessions.begin() as session:
            yield session

    @contextmanager
    def alone(self, lock: Lock) -> Iterator[bool]:
        """Whether no other process holds this lock; ours holds it meanwhile, outside any transaction.

        What is done alone may take long, and a transaction held open would keep Postgres from tidying up.
        """
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            pooler.require_session(connection)
            is_alone = connection.execute(select(func.pg_try_advisory_lock(lock.value))).scalar_one()
            try:
                yield is_alone
            finally:
                if is_alone:
                    connection.execute(select(func.pg_advisory_unlock(lock.value)))

    @cached_property
    def _sessions(self) -> sessionmaker[Session]:
        return sessionmaker(self.engine, expire_on_commit=False)

    def check(self) -> None:
        """Raise an SQLAlchemyError unless Postgres answers and has been migrated."""
        with self.begin() as session:
            session.execute(text("SELECT 1 FROM alembic_version"))

    def close(self) -> None:
        self.engine.dispose()


def _pool(limits: Limits) -> dict[str, Any]:
    if not limits.pool_size:
        return {"poolclass": NullPool}
    return {
        "pool_size": limits.pool_size,
        "max_overflow": limits.overflow,
        "pool_pre_ping": True,
        "pool_timeout": 10,
    }


PASSING = (OperationalError, InterfaceError, InternalError, PoolTimeout)
"""What Postgres says while it is away, restarts or fails over, or others hold its locks. All else will not pass."""
PASSING_IN_DRIVER = (psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError)
"""The same from psycopg itself, which COPY uses past SQLAlchemy."""


def is_lost_connection(error: SQLAlchemyError) -> bool:
    """Whether Postgres could not be reached or ended the session: an outage, not the statement's own failure."""
    if isinstance(error, PoolTimeout):
        return True
    if not isinstance(error, DBAPIError):
        return False
    # Without an SQLSTATE nobody answered; class 08 is the connection's, 57P01 to 57P05 a server that goes down.
    sqlstate = getattr(error.orig, "sqlstate", None)
    is_answer = sqlstate is not None and not sqlstate.startswith(("08", "57P"))
    return error.connection_invalidated or (isinstance(error, (OperationalError, InterfaceError)) and not is_answer)


def driver_url(url: str) -> str:
    """The URL with SQLAlchemy's name for psycopg 3, whatever scheme Postgres tools gave it."""
    return "postgresql+psycopg://" + url.split("://", 1)[1]
