"""The release before goes on working beside this one, on the schema that this one made."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from farm.embedded.postgres import Postgres

STATEMENTS = Path(__file__).parents[2] / "releases" / "0.1.0.sql"


def spoken() -> list[str]:
    """The statements of the release before; lines that begin with two dashes are remarks."""
    lines = [line for line in STATEMENTS.read_text().splitlines() if not line.startswith("--")]
    return [statement.strip() for statement in "\n".join(lines).split(";;") if statement.strip()]


@pytest.fixture
def connection(postgres: Postgres) -> Iterator[psycopg.Connection]:
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        yield connection


@pytest.mark.parametrize("statement", [s for s in spoken() if not s.startswith("COPY")])
def test_a_statement_of_the_release_before_still_runs_on_this_schema(
    connection: psycopg.Connection, statement: str
) -> None:
    connection.execute(f"PREPARE spoken AS {statement}".encode())
    connection.execute("DEALLOCATE spoken")


def test_the_release_before_can_still_copy_its_tasks_in(connection: psycopg.Connection) -> None:
    [statement] = [s for s in spoken() if s.startswith("COPY")]
    with connection.cursor() as cursor, cursor.copy(statement.encode()):
        pass
