"""Which keeper leads: a session lock on a connection of its own, which is lost together with that connection."""

from contextlib import suppress

import structlog
from sqlalchemy import Connection, func, select, text
from sqlalchemy.exc import SQLAlchemyError

from farm.db import pooler
from farm.db.connection import Database
from farm.db.locks import Lock
from farm.errors import ConfigError

log = structlog.get_logger(__name__)

# Postgres ends the session of a leader that froze, or whose machine lost its power: another one takes over.
_LOSE_IF_IDLE = text("SET idle_session_timeout = '30s'")


class Leadership:
    """Asks for the lock and holds it. A leader that lost it unawares writes advice, and harms nothing."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: Connection | None = None

    def hold(self) -> bool:
        """Whether this process leads now: the lock is held still, or was free. Raises SQLAlchemyError."""
        return self._is_held() if self._connection is not None else self._take()

    def resign(self) -> None:
        """Let another one lead."""
        connection, self._connection = self._connection, None
        if connection is not None:
            # Closed for good, and not handed back to the pool: the lock ends with its session.
            with suppress(SQLAlchemyError):
                connection.close()
            log.info("This keeper leads no more: another one may plan.")

    def _is_held(self) -> bool:
        assert self._connection is not None
        try:
            self._connection.execute(select(1))
        except SQLAlchemyError:
            self.resign()
            raise
        return True

    def _take(self) -> bool:
        connection = self._database.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        try:
            pooler.require_session(connection)
            is_taken = connection.execute(select(func.pg_try_advisory_lock(Lock.PLAN.value))).scalar_one()
            if is_taken:
                connection.detach()
                connection.execute(_LOSE_IF_IDLE)
        except (SQLAlchemyError, ConfigError):
            connection.close()
            raise
        if not is_taken:
            connection.close()
            return False
        self._connection = connection
        log.info("This keeper leads: it plans who renders what.")
        return True
