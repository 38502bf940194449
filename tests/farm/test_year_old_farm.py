"""The life of a job on a farm that is a year old: 10,000 owners, dead workers, and a clock at awkward instants.

The database's clock is the tests' own: its `now()` stands before Postgres' in the search path, and adds what
a table says. All else is as the farm has it.
"""

import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
import structlog
from sqlalchemy import text

from farm.config import Settings
from farm.db import migrate
from farm.db.connection import Database, Role
from farm.embedded.postgres import Postgres
from farm.embedded.redis import Redis
from farm.intake import estimates
from farm.queue import steering
from farm.queue.doorbell import Doorbell
from farm.reports import overview, workers
from farm.reports.waiting import explain
from farm.store.protocol import open_store
from farm.upkeep.cleaner import Cleaner
from farm.upkeep.keeper import Keeper
from tests.conftest import settings_in
from tests.factories import Scene, a_checkpoint, a_request, accept

OWNERS = 10_000
OPEN_JOBS = 2_000

CLOCK = """
    CREATE SCHEMA clock;
    CREATE TABLE clock.setting (ahead interval NOT NULL);
    INSERT INTO clock.setting VALUES ('0');
    CREATE FUNCTION clock.now() RETURNS timestamptz LANGUAGE sql STABLE
        AS 'SELECT pg_catalog.now() + ahead FROM clock.setting';
    CREATE FUNCTION clock.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
        AS 'SELECT pg_catalog.clock_timestamp() + ahead FROM clock.setting';
"""
YEAR = (Path(__file__).parent / "year_old.sql").read_text()

INSTANTS = [
    datetime(2027, 3, 28, 0, 59, 59, 500_000, tzinfo=UTC),  # Berlin's clocks go from 2 to 3 at 1:00 UTC
    datetime(2027, 10, 31, 0, 59, 59, 500_000, tzinfo=UTC),  # and back from 3 to 2
    datetime(2027, 12, 31, 23, 59, 59, 500_000, tzinfo=UTC),
    datetime(2028, 2, 28, 23, 59, 59, 500_000, tzinfo=UTC),
    datetime(2028, 2, 29, 23, 59, 59, 500_000, tzinfo=UTC),
]


@pytest.fixture(scope="module")
def old_farm(
    postgres: Postgres, redis_server: Redis, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Settings, Database]]:
    """A database of its own, migrated under the tests' clock, with a year behind it."""
    with psycopg.connect(postgres.url_of("postgres"), autocommit=True) as connection:
        connection.execute("CREATE DATABASE aged")
        connection.execute("ALTER DATABASE aged SET search_path = clock, pg_catalog, public")
        url = postgres.url_of("aged")
        with psycopg.connect(url, autocommit=True) as aged:
            aged.execute(CLOCK)
        migrate.upgrade(url)
        folder: Path = tmp_path_factory.mktemp("aged")
        settings = settings_in(folder, postgres, redis_server).model_copy(update={"database_url": url})
        with closing(Database.of(settings, Role.TOOL)) as database:
            set_clock(database, INSTANTS[0])
            a_checkpoint(database)
            with psycopg.connect(url, autocommit=True) as aged:
                aged.execute(YEAR)
                aged.execute("ANALYZE")
            yield settings, database
        connection.execute("DROP DATABASE aged WITH (FORCE)")


@pytest.fixture
def old_scene(old_farm: tuple[Settings, Database], monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    """The old farm, seen from Berlin."""
    settings, database = old_farm
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    with closing(Doorbell(settings.required_redis_url)) as doorbell:
        yield Scene(database, settings, doorbell)
    monkeypatch.undo()
    time.tzset()


def set_clock(database: Database, moment: datetime) -> None:
    with database.begin() as session:
        session.execute(text("UPDATE clock.setting SET ahead = :moment - pg_catalog.now()"), {"moment": moment})


def shift_clock(scene: Scene, by: str) -> None:
    scene.scalar("UPDATE clock.setting SET ahead = ahead + CAST(:by AS interval) RETURNING 1", by=by)


def live_a_life(scene: Scene, name: str) -> None:
    """A job of an owner who idled for a year: submitted, claimed, failed, lost, retried, published."""
    job_id = scene.submit(owner="owner-1", images_per_prompt=3, priority=90)
    first, second = scene.worker(f"{name}-0"), scene.worker(f"{name}-1")
    (failing,), (lost,), (fine,) = (scene.claim(worker_id, limit=1) for worker_id in (first, second, second))
    assert {lease.job_id for lease in (failing, lost, fine)} == {job_id}
    assert scene.renew(second, lost, fine) == {lost, fine}
    assert scene.fail(failing)
    scene.let_leases_end(lost)
    assert scene.expire() >= 1
    assert scene.publish(fine)
    for worker_id in (second, first):
        [again] = scene.claim(worker_id)
        assert scene.publish(again)
    assert scene.job(job_id).status == "succeeded"
    scene.fold()
    assert 1.4 < scene.scalar("SELECT gpu_seconds FROM users WHERE name = 'owner-1'") < 100


def test_a_job_lives_its_whole_life_on_a_farm_that_is_a_year_old(old_scene: Scene) -> None:
    for number, instant in enumerate(INSTANTS):
        set_clock(old_scene.database, instant)
        live_a_life(old_scene, str(number))
        time.sleep(0.6)  # into the next hour, day or year
        live_a_life(old_scene, f"later-{number}")


@pytest.mark.parametrize("by", ["-2 hours", "2 hours"])
def test_a_clock_that_is_set_while_images_render_loses_no_task(old_scene: Scene, by: str) -> None:
    job_id = old_scene.submit(owner="owner-2", images_per_prompt=4, priority=91)
    worker_id = old_scene.worker(f"set{by}")
    claimed = [old_scene.claim(worker_id, limit=1) for _ in range(4)]
    (published,), (failed,), (lost,), (handed_back,) = claimed
    shift_clock(old_scene, by)
    assert old_scene.publish(published)
    assert not old_scene.fail(failed, is_retryable=False)
    old_scene.hand_back(handed_back)
    assert old_scene.release_dead(worker_id) == 1
    assert sorted(old_scene.statuses(job_id)) == ["failed", "queued", "queued", "succeeded"]
    assert old_scene.scalar("SELECT min(gpu_seconds) FROM attempts WHERE task_id = :id", id=lost.task_id) >= 0
    steering.cancel(old_scene.database, job_id)


def test_the_housekeeping_copes_with_the_rows_of_a_year(old_scene: Scene) -> None:
    settings = old_scene.settings.model_copy(update={"keep_jobs_days": 30})
    with structlog.testing.capture_logs() as logs:
        Keeper(settings, old_scene.database, old_scene.doorbell).make_round()
        Cleaner(settings, old_scene.database, open_store(settings)).make_round()
    assert [entry["event"] for entry in logs if "failed" in entry["event"]] == []
    assert old_scene.scalar("SELECT count(*) FROM tasks WHERE status = 'running' AND lease_until < now()") == 0
    assert old_scene.scalar("SELECT count(*) FROM workers WHERE status <> 'offline' AND name LIKE 'old-%'") == 0
    assert old_scene.scalar("SELECT count(*) FROM jobs WHERE name = 'old'") < OWNERS


def test_every_report_can_be_made_of_a_year_old_farm(old_scene: Scene) -> None:
    waiting = old_scene.scalar("SELECT max(job_id) FROM counters WHERE has_queued AND pool = 'default'")
    old_scene.worker("page")
    with old_scene.database.begin() as session:
        assert len(overview.jobs(session, limit=200)) == 200
        assert overview.farm(session).queued >= OPEN_JOBS - 20
        assert workers.workers(session)
        assert overview.tasks(session, waiting)
        assert explain(session, waiting)
        assert estimates.seconds(session, [], 0) is not None


def test_a_submit_is_accepted_on_a_year_old_farm(old_scene: Scene) -> None:
    request = a_request(priority=0, pool="nobody")
    submitted = accept(old_scene.database, old_scene.settings, old_scene.doorbell, request, owner="owner-3")
    assert submitted.images == 1
