"""Nothing of the farm keeps Postgres from tidying up, and a stranger that does slows the farm down only so much."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from statistics import quantiles

import psycopg
import pytest
from sqlalchemy import text

from farm.config import Settings
from farm.db import migrate
from farm.db.connection import Database, Role
from farm.embedded.postgres import Postgres
from tests.factories import Scene

HOT_TABLES = ("attempts", "counters", "tasks", "users", "workers")
IDLE_SECONDS = Role.PORTAL.value.idle_seconds
MOST_TIMES_SLOWER = 5
LEAST_BOUND_SECONDS = 0.05


@pytest.fixture(params=list(Role), ids=lambda role: role.name.lower())
def of_role(request: pytest.FixtureRequest, postgres: Postgres) -> Iterator[Database]:
    database = Database(postgres.url, request.param)
    yield database
    database.close()


def setting(database: Database, name: str) -> str:
    with database.begin() as session:
        return str(session.execute(text(f"SHOW {name}")).scalar_one())


def test_every_connection_has_the_timeouts_of_its_role(of_role: Database) -> None:
    limits = of_role.role.value
    assert setting(of_role, "statement_timeout") == in_words(limits.statement)
    assert setting(of_role, "transaction_timeout") == limits.transaction
    assert setting(of_role, "lock_timeout") == limits.lock
    assert setting(of_role, "idle_in_transaction_session_timeout") == f"{limits.idle_seconds}s"


def test_all_but_heartbeats_wait_until_what_they_commit_is_on_disk(of_role: Database, postgres: Postgres) -> None:
    usual = Database(postgres.url, Role.TOOL)
    expected = "off" if of_role.role is Role.HEARTBEAT else setting(usual, "synchronous_commit")
    assert setting(of_role, "synchronous_commit") == expected
    usual.close()


def in_words(duration: str) -> str:
    """As Postgres puts it."""
    return {"60s": "1min"}.get(duration, duration)


@pytest.mark.parametrize("role", [Role.WORKER, Role.HEARTBEAT, Role.PARENT, Role.KEEPER])
def test_a_worker_frozen_in_a_transaction_holds_its_locks_for_less_than_a_lease(role: Role) -> None:
    default: float = Settings.model_fields["lease_seconds"].default
    assert role.value.idle_seconds <= default / 4


def test_no_role_may_keep_a_transaction_open_for_ever(of_role: Database) -> None:
    names = ("statement_timeout", "transaction_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
    assert "0" not in [setting(of_role, name) for name in names]


def test_timeouts_survive_a_rolled_back_transaction(postgres: Postgres) -> None:
    database = Database(postgres.url, Role.WORKER)
    with database.begin() as session:
        session.rollback()
    assert setting(database, "transaction_timeout") == "1min"
    database.close()


@pytest.mark.parametrize("table", HOT_TABLES)
def test_tables_that_change_with_each_image_are_vacuumed_early_and_without_pauses(scene: Scene, table: str) -> None:
    options = scene.scalar("SELECT reloptions FROM pg_class WHERE oid = CAST(:table AS regclass)", table=table)
    assert {"autovacuum_vacuum_scale_factor=0.01", "autovacuum_vacuum_cost_delay=0"} <= set(options)


def test_rows_that_change_with_each_image_have_room_to_change_in_place(scene: Scene) -> None:
    tight = (
        "SELECT array_agg(relname) FROM pg_class WHERE relname = ANY(:tables) "
        "AND NOT coalesce(reloptions::text, '') LIKE '%fillfactor%'"
    )
    assert scene.scalar(tight, tables=list(HOT_TABLES)) is None


@pytest.fixture
def farm_apart(postgres: Postgres, scene: Scene) -> Iterator[Scene]:
    """A farm in a database of its own, so that only this test's snapshots matter."""
    with psycopg.connect(postgres.url_of("postgres"), autocommit=True) as connection:
        connection.execute("CREATE DATABASE apart")
        url = postgres.url_of("apart")
        migrate.upgrade(url)
        database = Database(url, Role.TOOL)
        yield Scene(database, scene.settings.model_copy(update={"database_url": url}), scene.doorbell)
        database.close()
        connection.execute("DROP DATABASE apart WITH (FORCE)")


def test_a_held_snapshot_slows_claims_only_so_much_and_is_ended(farm_apart: Scene) -> None:
    farm_apart.submit(images_per_prompt=10_000)
    worker_id = farm_apart.worker()
    before = p95(claims_for(farm_apart, worker_id, seconds=4))
    with ThreadPoolExecutor() as threads:
        held = threads.submit(hold_a_snapshot, farm_apart)
        during = p95(claims_for(farm_apart, worker_id, seconds=IDLE_SECONDS)[-100:])
        held_seconds = held.result()
    assert during < max(MOST_TIMES_SLOWER * before, LEAST_BOUND_SECONDS)
    assert IDLE_SECONDS - 1 < held_seconds < IDLE_SECONDS + 5
    assert farm_apart.counters() == farm_apart.recount()


def claims_for(scene: Scene, worker_id: int, *, seconds: float) -> list[float]:
    """Claim and publish, some twenty batches each second; how long each claim took."""
    took = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        started = time.monotonic()
        leases = scene.claim(worker_id, limit=4)
        took.append(time.monotonic() - started)
        for lease in leases:
            scene.publish(lease)
        time.sleep(0.02)
    return took


def hold_a_snapshot(scene: Scene) -> float:
    """Open a transaction of the portal, who may idle longest, and wait until Postgres ends it; return how long."""
    database = Database(scene.settings.required_database_url, Role.PORTAL)
    with database.engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        connection.execute(text("SELECT count(*) FROM tasks"))
        started = time.monotonic()
        pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
        deadline = started + IDLE_SECONDS + 10
        while scene.scalar("SELECT count(*) FROM pg_stat_activity WHERE pid = :pid", pid=pid):
            assert time.monotonic() < deadline, "nobody ends the snapshot"
            time.sleep(0.2)
        connection.invalidate()
    database.close()
    return time.monotonic() - started


def p95(values: list[float]) -> float:
    return quantiles(values, n=20)[-1]
