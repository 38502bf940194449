"""PgBouncer between a process and Postgres, pooling by transaction: noticed by itself, and what is done then.

It refuses the options that a connection begins with, or drops them where it is told to. What they set is set in
each transaction instead, and nothing is prepared on the server: the next transaction may meet another session. A
lock beyond transactions needs a session of its own: it cannot be had there, and asking for it raises.
"""

from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import Connection, Dialect, Engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from farm.errors import ConfigError

_IS_POOLED = "is_pooled"
_REFUSED = "unsupported startup parameter"
# Arrives with the options, or not at all.
_MARK = "farm.options"
_KNOWS_TRANSACTION_TIMEOUT = 170000


def apply_settings(engine: Engine, settings: Mapping[str, str], transaction_timeout: str) -> None:
    """Let every connection of an engine have these settings of Postgres, whether a pooler is between or not."""
    options = " ".join(f"-c {name}={value}" for name, value in {**settings, _MARK: "on"}.items())

    def connect(
        dialect: Dialect, entry: ConnectionPoolEntry, cargs: Any, cparams: dict[str, Any]
    ) -> DBAPIConnection:
        entry.info.pop(_IS_POOLED, None)
        try:
            return dialect.connect(*cargs, **cparams, options=options)
        except psycopg.OperationalError as error:
            if _REFUSED not in str(error):
                raise
        return dialect.connect(*cargs, **cparams)

    def look(connection: psycopg.Connection, entry: ConnectionPoolEntry) -> None:
        has_options = connection.execute("SELECT current_setting(%s, true) = 'on'", [_MARK]).fetchone()
        if has_options != (True,):
            entry.info[_IS_POOLED] = True
            connection.prepare_threshold = None
        elif connection.info.server_version >= _KNOWS_TRANSACTION_TIMEOUT:
            # Not among the options: servers before 17 would refuse it.
            connection.execute(sql.SQL("SET transaction_timeout = {}").format(transaction_timeout))
        connection.commit()

    def begin(connection: Connection) -> None:
        if connection.info.get(_IS_POOLED):
            is_known = connection.dialect.server_version_info >= (17,)  # type: ignore[operator]
            ours = {**settings, **({"transaction_timeout": transaction_timeout} if is_known else {})}
            calls = ", ".join(f"set_config('{name}', '{value}', true)" for name, value in ours.items())
            connection.exec_driver_sql(f"SELECT {calls}")

    event.listen(engine, "do_connect", connect)
    event.listen(engine, "connect", look)
    event.listen(engine, "begin", begin)


def require_session(connection: Connection) -> None:
    """Raise ConfigError where a lock of the session would be lost to a pooler, which shares sessions."""
    if connection.info.get(_IS_POOLED):
        raise ConfigError(
            "FARM_DATABASE_URL leads through PgBouncer, which pools transactions. Only workers can do with that: "
            "let portals, keepers and commands connect to PostgreSQL itself."
        )
