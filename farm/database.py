"""Connections to Postgres, each with the timeouts its kind of process needs."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from functools import cached_property

from sqlalchemy import Engine, create_engine, text
from sqlalchemy.orm import Session, sessionmaker

from farm.config import Settings


class Role(Enum):
    """A kind of process and its limits: (statement timeout, lock timeout, pool size)."""

    PORTAL = ("30s", "5s", 20)
    WORKER = ("10s", "5s", 8)
    KEEPER = ("60s", "5s", 2)
    TOOL = ("0", "10s", 4)


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
        statement_timeout, lock_timeout, pool_size = self.role.value
        options = (
            f"-c statement_timeout={statement_timeout} -c lock_timeout={lock_timeout} "
            "-c idle_in_transaction_session_timeout=30s -c timezone=UTC"
        )
        return create_engine(
            driver_url(self.url),
            pool_size=pool_size,
            max_overflow=4,
            pool_pre_ping=True,
            pool_timeout=10,
            connect_args={
                "options": options,
                "application_name": f"farm-{self.role.name.lower()}",
                "connect_timeout": 5,
                # A peer that vanished without a word is noticed in seconds, not in TCP's two hours.
                "keepalives_idle": 10,
                "keepalives_interval": 5,
                "keepalives_count": 3,
                "tcp_user_timeout": 20_000,
            },
        )

    @contextmanager
    def begin(self) -> Iterator[Session]:
        with self._sessions.begin() as session:
            yield session

    @cached_property
    def _sessions(self) -> sessionmaker[Session]:
        return sessionmaker(self.engine, expire_on_commit=False)

    def check(self) -> None:
        """Raise an SQLAlchemyError unless Postgres answers and has been migrated."""
        with self.begin() as session:
            session.execute(text("SELECT 1 FROM alembic_version"))

    def close(self) -> None:
        self.engine.dispose()


def driver_url(url: str) -> str:
    """The URL with SQLAlchemy's name for psycopg 3, whatever scheme Postgres tools gave it."""
    return "postgresql+psycopg://" + url.split("://", 1)[1]
