"""A clock of Postgres that tests set: what connects through it sees `now()` shifted."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg
from sqlalchemy import event

from farm.db.connection import Database, Role
from tests.factories import Scene

_MAKE = """
    CREATE SCHEMA set_clock;
    CREATE TABLE set_clock.shift (seconds double precision NOT NULL);
    INSERT INTO set_clock.shift VALUES (0);
    CREATE FUNCTION set_clock.now() RETURNS timestamptz STABLE LANGUAGE sql
        AS 'SELECT pg_catalog.now() + make_interval(secs => (SELECT seconds FROM set_clock.shift))';
"""


class SetClock:
    """Found before Postgres' own, by connections of `database` alone."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        scene.execute(_MAKE)

    @contextmanager
    def database(self) -> Iterator[Database]:
        with closing(Database(self._scene.database.url, Role.KEEPER)) as database:
            event.listen(database.engine, "connect", _look_there_first)
            yield database

    def set_ahead(self, seconds: float) -> None:
        """Or back, by less than nothing."""
        self._scene.execute("UPDATE set_clock.shift SET seconds = seconds + :seconds", seconds=seconds)

    def remove(self) -> None:
        self._scene.execute("DROP SCHEMA set_clock CASCADE")


def _look_there_first(connection: "psycopg.Connection[object]", _: object) -> None:
    connection.execute("SET search_path = set_clock, pg_catalog, public")
    connection.commit()
