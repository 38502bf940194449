"""The schema is brought up to date once, by whoever comes first."""

import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Engine, create_engine, inspect

from farm.db import migrate
from farm.db.connection import driver_url
from farm.db.locks import Lock
from farm.db.tables.schema import METADATA
from farm.embedded.postgres import Postgres

MIGRATIONS = Path(__file__).resolve().parents[3] / "migrations"


@pytest.fixture
def empty_url(postgres: Postgres) -> Iterator[str]:
    """An empty database of its own."""
    with psycopg.connect(postgres.url_of("postgres"), autocommit=True) as connection:
        connection.execute("CREATE DATABASE scratch")
        yield postgres.url_of("scratch")
        connection.execute("DROP DATABASE scratch WITH (FORCE)")


@pytest.fixture
def engine(empty_url: str) -> Iterator[Engine]:
    engine = create_engine(driver_url(empty_url))
    yield engine
    engine.dispose()


def test_an_empty_database_is_not_current_and_an_upgraded_one_is(empty_url: str, engine: Engine) -> None:
    assert not migrate.is_current(engine)
    migrate.upgrade(empty_url)
    assert migrate.is_current(engine)


def test_upgrading_twice_is_harmless(empty_url: str, engine: Engine) -> None:
    migrate.upgrade(empty_url)
    migrate.upgrade(empty_url)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT name FROM users").scalars().all() == ["local"]


def test_two_processes_that_upgrade_at_once_both_succeed(empty_url: str, engine: Engine) -> None:
    program = "import sys; from farm.db import migrate; migrate.upgrade(sys.argv[1])"
    upgrades = [subprocess.Popen([sys.executable, "-c", program, empty_url]) for _ in range(2)]
    assert [upgrade.wait(30) for upgrade in upgrades] == [0, 0]
    assert migrate.is_current(engine)


def test_an_upgrade_waits_for_another_that_is_under_way(empty_url: str, engine: Engine) -> None:
    with psycopg.connect(empty_url, autocommit=True) as another, ThreadPoolExecutor() as threads:
        another.execute(f"SELECT pg_advisory_lock({Lock.MIGRATION.value})")
        upgrade = threads.submit(migrate.upgrade, empty_url)
        wait_until_one_waits(another)
        assert inspect(engine).get_table_names() == []
        another.execute("SELECT pg_advisory_unlock_all()")
        upgrade.result()
    assert migrate.is_current(engine)


def wait_until_one_waits(connection: psycopg.Connection) -> None:
    waiting = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    deadline = time.monotonic() + 5
    while not connection.execute(waiting).fetchall():
        assert time.monotonic() < deadline, "the upgrade does not wait"
        time.sleep(0.005)


def test_a_database_that_is_newer_than_this_release_is_current(empty_url: str, engine: Engine) -> None:
    migrate.upgrade(empty_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'of the next release'")
    assert migrate.is_current(engine)


def test_upgrading_a_database_that_is_newer_leaves_it_as_it_is(empty_url: str, engine: Engine) -> None:
    test_a_database_that_is_newer_than_this_release_is_current(empty_url, engine)
    migrate.upgrade(empty_url)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT * FROM alembic_version").scalar() == "of the next release"


def test_a_database_that_lacks_a_migration_is_not_current(empty_url: str, engine: Engine) -> None:
    migrate.upgrade(empty_url, "0001")
    assert not migrate.is_current(engine)


def test_the_models_match_the_migrated_schema(empty_url: str, engine: Engine) -> None:
    migrate.upgrade(empty_url)
    with engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), METADATA)
    # Constraints and indexes live in the migrations alone.
    ours = [d for d in differences if not str(d[0]).endswith(("_index", "_constraint", "_fk"))]
    assert ours == []


def test_a_downgrade_leaves_no_table(empty_url: str, engine: Engine) -> None:
    migrate.upgrade(empty_url)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["url"] = empty_url
    command.downgrade(config, "base")
    assert inspect(engine).get_table_names() == ["alembic_version"]
    migrate.upgrade(empty_url)
    assert migrate.is_current(engine)
