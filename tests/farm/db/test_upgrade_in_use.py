"""A farm in use goes on after an upgrade of its schema, and so do workers and a portal of the release before."""

from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest

from farm.config import Settings
from farm.db import migrate
from farm.db.connection import Database, Role
from farm.embedded.postgres import Postgres
from farm.errors import Conflict
from farm.queue import deadlines, steering
from farm.queue.doorbell import Doorbell
from farm.queue.workers import fleet
from farm.upkeep.keeper import Keeper
from tests.bench.former.life import read_life, read_standing
from tests.bench.former.record import LIFE, OLD_WORKER, make_farm_in_use
from tests.factories import Scene

# Of `tests/releases/0007-in-use.sql`.
WAITING = {1, 2, 5, 6, 10, 13}
PAUSED = {3, 11}
NOT_YET = {4}
ELSEWHERE = {12}
HELD = {2, 3, 28}
"""The tasks that OLD_WORKER renders."""

COUNTS = """
    SELECT job_id, batch_key, queued, running, succeeded, failed, cancelled FROM line_counts ORDER BY 1, 2
"""
RECOUNT = """
    SELECT job_id, batch_key, count(*) FILTER (WHERE status = 'queued'), count(*) FILTER (WHERE status = 'running'),
        count(*) FILTER (WHERE status = 'succeeded'), count(*) FILTER (WHERE status = 'failed'),
        count(*) FILTER (WHERE status = 'cancelled')
    FROM tasks GROUP BY 1, 2 ORDER BY 1, 2
"""


@pytest.fixture(scope="module")
def upgraded(postgres: Postgres) -> Iterator[str]:
    """The name of a database: a farm in use, upgraded while nothing was connected."""
    with psycopg.connect(postgres.url_of("postgres"), autocommit=True) as connection:
        connection.execute("CREATE DATABASE upgraded")
        make_farm_in_use(postgres.url_of("upgraded"))
        migrate.upgrade(postgres.url_of("upgraded"))
        yield "upgraded"
        connection.execute("DROP DATABASE upgraded WITH (FORCE)")


@pytest.fixture
def url(postgres: Postgres, upgraded: str) -> Iterator[str]:
    """The URL of a copy of it."""
    with psycopg.connect(postgres.url_of("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE in_use TEMPLATE {upgraded}".encode())
        yield postgres.url_of("in_use")
        connection.execute("DROP DATABASE in_use WITH (FORCE)")


@pytest.fixture
def scene(url: str, settings: Settings, doorbell: Doorbell) -> Iterator[Scene]:
    """That farm, at work with this release."""
    settings = settings.model_copy(update={"database_url": url})
    with closing(Database.of(settings, Role.TOOL)) as database:
        yield Scene(database, settings, doorbell)


@pytest.fixture
def connection(url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


def counts_agree(connection: psycopg.Connection) -> bool:
    return connection.execute(COUNTS).fetchall() == connection.execute(RECOUNT).fetchall()


def claim_all(scene: Scene, worker_id: int) -> list[tuple[int, int]]:
    """Let a worker claim until nothing is left for it: (job id, task id) of all that it got."""
    batches = iter(lambda: scene.claim(worker_id), ())
    return [(lease.job_id, lease.task_id) for batch in batches for lease in batch]


def let_the_keeper_work(scene: Scene) -> None:
    """What it finds is overdue, lost, or not adopted yet is taken care of."""
    Keeper(scene.settings, scene.database, scene.doorbell).make_round()


def test_counts_agree_after_an_upgrade(connection: psycopg.Connection) -> None:
    assert counts_agree(connection)


def test_counts_that_disagree_with_the_tasks_are_noticed(connection: psycopg.Connection) -> None:
    connection.execute("UPDATE counters SET queued = queued + 1 WHERE job_id = 1")
    assert not counts_agree(connection)


def test_queued_tasks_are_claimed_after_an_upgrade_each_once(scene: Scene) -> None:
    claimed = claim_all(scene, scene.worker("new"))
    assert {job for job, _task in claimed} == WAITING
    assert len({task for _job, task in claimed}) == len(claimed)
    left = "SELECT DISTINCT job_id FROM tasks WHERE status = 'queued'"
    assert set(scene.column(left)) == PAUSED | NOT_YET | ELSEWHERE


def test_a_claim_after_an_upgrade_begins_with_the_highest_priority(scene: Scene) -> None:
    assert scene.claim(scene.worker("new"), limit=1)[0].job_id == 2


def test_a_deterministic_job_is_rendered_image_by_image_after_an_upgrade(scene: Scene) -> None:
    worker = scene.worker("new")
    sizes = [len(batch) for batch in iter(lambda: scene.claim(worker), ()) if batch[0].job_id == 10]
    assert sizes == [1, 1]


def test_a_paused_job_stays_paused_after_an_upgrade_and_can_be_resumed(scene: Scene) -> None:
    worker = scene.worker("new")
    claim_all(scene, worker)
    steering.resume(scene.database, scene.doorbell, 3)
    assert [job for job, _task in claim_all(scene, worker)] == [3, 3, 3]


def test_a_job_for_later_starts_at_its_time_after_an_upgrade(scene: Scene) -> None:
    worker = scene.worker("new")
    claim_all(scene, worker)
    scene.let_jobs_begin()
    let_the_keeper_work(scene)
    assert [job for job, _task in claim_all(scene, worker)].count(4) == 2


def test_a_deadline_holds_after_an_upgrade(scene: Scene) -> None:
    with scene.database.begin() as session:
        assert list(deadlines.overdue_jobs(session)) == [13]
        deadlines.cancel_queued(session, 13, "the deadline has passed")
    assert scene.job(13).status == "cancelled"


def test_a_worker_that_was_drained_before_an_upgrade_claims_nothing(scene: Scene) -> None:
    assert scene.claim(2) == ()


def test_a_lease_that_ended_is_taken_back_after_an_upgrade_and_a_live_one_is_not(scene: Scene) -> None:
    assert scene.expire() == 1
    assert set(scene.column("SELECT id FROM tasks WHERE status = 'running'")) == HELD


def test_a_silent_worker_is_retired_after_an_upgrade(scene: Scene) -> None:
    with scene.database.begin() as session:
        fleet.retire_silent(session, 60)
    assert set(scene.column("SELECT id FROM workers WHERE status = 'offline'")) == {3, 4}


def test_a_job_can_be_called_off_after_an_upgrade_while_an_older_worker_renders_it(
    scene: Scene, connection: psycopg.Connection
) -> None:
    steering.cancel(scene.database, 1)
    assert scene.job(1).status == "cancelled"
    assert counts_agree(connection)


def test_failed_images_are_retried_after_an_upgrade(scene: Scene, connection: psycopg.Connection) -> None:
    assert steering.retry(scene.database, scene.settings, scene.doorbell, 8) == 1
    assert counts_agree(connection)


def test_a_finished_job_stays_finished_after_an_upgrade(scene: Scene) -> None:
    claim_all(scene, scene.worker("new"))
    assert [scene.job(job_id).status for job_id in (7, 8, 9)] == ["succeeded", "failed", "cancelled"]
    with pytest.raises(Conflict):
        steering.cancel(scene.database, 7)


def test_the_release_before_lives_on_the_new_schema_as_on_its_own(connection: psycopg.Connection) -> None:
    life = read_life(LIFE)
    for step in life.steps:
        step.tell(connection)
        assert counts_agree(connection), step.name
    assert read_standing(connection) == life.standing


def test_a_worker_of_the_release_before_keeps_its_leases_and_publishes(
    scene: Scene, connection: psycopg.Connection
) -> None:
    life = read_life(LIFE)
    life.named("renew")[0].tell(connection)
    scene.expire()
    life.named("publish")[0].tell(connection)
    assert scene.column("SELECT status FROM tasks WHERE id IN (2, 3) ORDER BY id") == ["succeeded", "running"]
    assert scene.scalar("SELECT worker_id FROM tasks WHERE id = 3") == OLD_WORKER


def test_a_job_that_a_portal_of_the_release_before_accepts_is_rendered_by_this_one(
    scene: Scene, connection: psycopg.Connection
) -> None:
    read_life(LIFE).named("submit")[0].tell(connection)
    let_the_keeper_work(scene)
    claimed = claim_all(scene, scene.worker("new"))
    assert [job for job, _task in claimed if job > 100] == [101, 101, 101]


def test_a_pause_by_a_portal_of_the_release_before_is_kept(scene: Scene, connection: psycopg.Connection) -> None:
    read_life(LIFE).named("pause")[0].tell(connection)
    assert 5 not in {job for job, _task in claim_all(scene, scene.worker("new"))}
