"""Each migration leaves the release before it in working order: both run side by side while a farm is updated."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
import pytest
from alembic.script import ScriptDirectory
from psycopg.rows import class_row

from farm.db import migrate
from farm.embedded.postgres import Postgres

FIRST = "0001"


@dataclass(frozen=True)
class Column:
    """What a release relies on that reads or writes a column."""

    table: str
    name: str
    type: str
    is_required: bool
    fills_itself: bool

    @property
    def key(self) -> tuple[str, str]:
        return self.table, self.name


@dataclass(frozen=True)
class Constraint:
    """A rule that every row of a table must keep to."""

    table: str
    name: str
    rule: str
    columns: tuple[str, ...]

    @property
    def key(self) -> tuple[str, str]:
        return self.table, self.name

    @property
    def choices(self) -> set[str]:
        """The words of a list of statuses and the like."""
        return set(re.findall(r"'([^']*)'::text", self.rule))

    @property
    def shape(self) -> str:
        """The rule without those words."""
        return re.sub(r"'[^']*'::text(, )?", "", self.rule)


@dataclass(frozen=True)
class Schema:
    """The tables of the farm as one revision has them."""

    columns: dict[tuple[str, str], Column]
    constraints: dict[tuple[str, str], Constraint]

    @property
    def tables(self) -> set[str]:
        return {table for table, _ in self.columns}


COLUMNS = """
    SELECT relname AS table, attname AS name, format_type(atttypid, atttypmod) AS type, attnotnull AS is_required,
           atthasdef OR attidentity <> '' AS fills_itself
    FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
    WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND attnum > 0 AND NOT attisdropped
"""
CONSTRAINTS = """
    SELECT conrelid::regclass::text AS table, conname AS name, pg_get_constraintdef(oid) AS rule,
           ARRAY(
               SELECT attname::text FROM pg_attribute WHERE attrelid = conrelid AND attnum = ANY (conkey)
           ) AS columns
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype <> 'n'
"""


def read_schema(connection: psycopg.Connection) -> Schema:
    columns = connection.cursor(row_factory=class_row(Column)).execute(COLUMNS).fetchall()
    constraints = connection.cursor(row_factory=class_row(Constraint)).execute(CONSTRAINTS).fetchall()
    return Schema({x.key: x for x in columns}, {x.key: x for x in constraints})


def breaks(before: Schema, after: Schema) -> list[str]:
    """What would keep a release that knows `before` from working on `after`."""
    return sorted([*broken_columns(before, after), *broken_constraints(before, after)])


def broken_columns(before: Schema, after: Schema) -> Iterator[str]:
    for key, old in before.columns.items():
        new = after.columns.get(key)
        if new is None:
            yield f"{old.table}.{old.name} is gone"
        elif (new.type, new.is_required) != (old.type, old.is_required):
            yield f"{old.table}.{old.name} is another"
        elif old.fills_itself and not new.fills_itself:
            yield f"{old.table}.{old.name} has no default any more"
    for key in after.columns.keys() - before.columns.keys():
        new = after.columns[key]
        if new.table in before.tables and new.is_required and not new.fills_itself:
            yield f"{new.table}.{new.name} must be written"


def broken_constraints(before: Schema, after: Schema) -> Iterator[str]:
    for key, new in after.constraints.items():
        old = before.constraints.get(key)
        if new.table not in before.tables or not any((new.table, name) in before.columns for name in new.columns):
            # It rules what the release before neither reads nor writes.
            continue
        if old is None:
            yield f"{new.table} has the new rule {new.name}"
        elif old.shape != new.shape or not old.choices <= new.choices:
            yield f"{new.table} has a stricter rule {new.name}"


@pytest.fixture
def url(postgres: Postgres) -> Iterator[str]:
    """An empty database of its own."""
    with psycopg.connect(postgres.url_of("postgres"), autocommit=True) as connection:
        connection.execute("CREATE DATABASE rolling")
        yield postgres.url_of("rolling")
        connection.execute("DROP DATABASE rolling WITH (FORCE)")


@pytest.fixture
def connection(url: str) -> Iterator[psycopg.Connection]:
    migrate.upgrade(url, FIRST)
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


def later_revisions() -> list[str]:
    scripts = ScriptDirectory(str(migrate.SCRIPTS))
    return [script.revision for script in scripts.walk_revisions() if script.revision != FIRST]


@pytest.mark.parametrize("revision", later_revisions())
def test_the_release_before_a_migration_goes_on_working_after_it(
    url: str, connection: psycopg.Connection, revision: str
) -> None:
    migrate.upgrade(url, f"{revision}-1")
    before = read_schema(connection)
    migrate.upgrade(url, revision)
    assert breaks(before, read_schema(connection)) == []


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        ("ALTER TABLE jobs DROP COLUMN reason", "jobs.reason is gone"),
        ("ALTER TABLE jobs RENAME reason TO cause", "jobs.reason is gone"),
        ("DROP TABLE events", "events.id is gone"),
        ("ALTER TABLE tasks ALTER seq TYPE bigint", "tasks.seq is another"),
        ("ALTER TABLE tasks ALTER reason SET NOT NULL", "tasks.reason is another"),
        ("ALTER TABLE tasks ALTER spec DROP NOT NULL", "tasks.spec is another"),
        ("ALTER TABLE tasks ALTER attempt DROP DEFAULT", "tasks.attempt has no default any more"),
        ("ALTER TABLE tasks ADD size integer NOT NULL", "tasks.size must be written"),
        ("ALTER TABLE tasks ADD CHECK (seq < 10)", "tasks has the new rule tasks_seq_check1"),
        ("ALTER TABLE jobs ADD UNIQUE (name)", "jobs has the new rule jobs_name_key"),
    ],
)
def test_a_change_that_would_break_the_release_before_is_noticed(
    connection: psycopg.Connection, change: str, broken: str
) -> None:
    before = read_schema(connection)
    connection.execute(change)
    assert broken in breaks(before, read_schema(connection))


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ("'starting', 'idle', 'busy', 'draining', 'offline', 'resting'", []),
        ("'starting', 'idle', 'offline'", ["workers has a stricter rule workers_status_check"]),
    ],
)
def test_a_list_of_statuses_may_grow_and_must_not_shrink(
    connection: psycopg.Connection, statuses: str, expected: list[str]
) -> None:
    before = read_schema(connection)
    connection.execute(
        "ALTER TABLE workers DROP CONSTRAINT workers_status_check, "
        f"ADD CONSTRAINT workers_status_check CHECK (status IN ({statuses}))"
    )
    assert breaks(before, read_schema(connection)) == expected


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE tasks ADD note text",
        "ALTER TABLE tasks ADD size integer NOT NULL DEFAULT 0",
        "ALTER TABLE tasks ADD size integer NOT NULL DEFAULT 1 CHECK (size > 0)",
        "CREATE TABLE notes (id bigint PRIMARY KEY, note text NOT NULL CHECK (note <> ''))",
        "ALTER TABLE artifacts DROP CONSTRAINT artifacts_size_bytes_check",
    ],
)
def test_a_compatible_change_is_not_taken_for_a_breaking_one(connection: psycopg.Connection, change: str) -> None:
    before = read_schema(connection)
    connection.execute(change)
    assert breaks(before, read_schema(connection)) == []
