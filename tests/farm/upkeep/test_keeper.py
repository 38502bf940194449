"""What the keeper puts right on its rounds."""

import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import psycopg
import pytest
import redis
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from farm.db.connection import Database, Role, is_lost_connection
from farm.queue import steering
from farm.queue.doorbell import queue_name
from farm.queue.workers import fleet
from farm.upkeep.keeper import Keeper, pools_to_ring
from tests.factories import Scene
from tests.waiting import wait_until


@pytest.fixture
def keeper(scene: Scene) -> Keeper:
    return Keeper(scene.settings, scene.database, scene.doorbell)


@pytest.fixture
def pass_deadlines(scene: Scene) -> Callable[[], None]:
    def make_them_past() -> None:
        with scene.database.begin() as session:
            session.execute(
                text("UPDATE jobs SET deadline = now() - interval '1 second' WHERE deadline IS NOT NULL")
            )

    return make_them_past


def an_idle_worker(scene: Scene, pool: str = "default") -> int:
    worker_id = scene.worker(pool=pool)
    with scene.database.begin() as session:
        fleet.beat(session, worker_id, "idle", None)
    return worker_id


def pools(scene: Scene) -> list[str]:
    with scene.database.begin() as session:
        return pools_to_ring(session)


def test_a_round_gives_back_leases_that_ended(scene: Scene, keeper: Keeper) -> None:
    job_id = scene.submit()
    scene.let_leases_end(*scene.claim(scene.worker()))
    keeper.make_round()
    assert scene.statuses(job_id) == ["queued"]


def test_a_round_cancels_a_job_that_has_not_started_by_its_deadline(
    scene: Scene, keeper: Keeper, pass_deadlines: Callable[[], None]
) -> None:
    job_id = scene.submit(images_per_prompt=2, deadline="2999-01-01T00:00:00Z")
    [lease] = scene.claim(scene.worker(), limit=1)
    pass_deadlines()
    keeper.make_round()
    assert scene.statuses(job_id) == ["running", "cancelled"]
    scene.publish(lease)
    assert scene.job(job_id).status == "cancelled"


def test_a_round_leaves_jobs_without_a_deadline_alone(
    scene: Scene, keeper: Keeper, pass_deadlines: Callable[[], None]
) -> None:
    job_ids = scene.submit(), scene.submit(deadline="2999-01-01T00:00:00Z")
    pass_deadlines()
    keeper.make_round()
    assert [scene.job(job_id).status for job_id in job_ids] == ["active", "cancelled"]


def test_a_cancelled_job_says_that_its_deadline_has_passed(
    scene: Scene, keeper: Keeper, pass_deadlines: Callable[[], None]
) -> None:
    job_id = scene.submit(deadline="2999-01-01T00:00:00Z")
    pass_deadlines()
    keeper.make_round()
    assert scene.job(job_id).reason == "the deadline has passed"
    assert scene.counters() == scene.recount()


def test_a_round_retires_workers_that_fell_silent(scene: Scene, keeper: Keeper) -> None:
    scene.worker()
    with scene.database.begin() as session:
        session.execute(text("UPDATE workers SET last_seen_at = now() - interval '1 hour'"))
    keeper.make_round()
    assert scene.scalar("SELECT status FROM workers") == "offline"


def test_a_round_rings_for_work_whose_ring_was_lost(scene: Scene, keeper: Keeper) -> None:
    an_idle_worker(scene)
    scene.submit()
    with redis.Redis.from_url(scene.settings.required_redis_url) as client:
        client.flushall()
        keeper.make_round()
        assert client.llen(queue_name("default")) == 1


def test_a_round_rings_as_often_as_there_are_workers(scene: Scene, keeper: Keeper) -> None:
    an_idle_worker(scene)
    for device in ("cuda:0", "cuda:1"):
        scene.worker(device)
    scene.submit()
    with redis.Redis.from_url(scene.settings.required_redis_url) as client:
        client.flushall()
        keeper.make_round()
        assert client.llen(queue_name("default")) == 3


def test_two_keepers_may_make_their_rounds_at_once(scene: Scene, keeper: Keeper) -> None:
    scene.submit()
    scene.let_leases_end(*scene.claim(scene.worker()))
    with scene.database.begin() as session:
        session.execute(text("SELECT FROM tasks FOR UPDATE"))
        keeper.make_round()


def test_pools_with_work_and_an_idle_worker_are_rung(scene: Scene) -> None:
    an_idle_worker(scene)
    scene.submit()
    scene.submit(pool="nobody-serves")
    assert pools(scene) == ["default"]


@pytest.mark.parametrize(
    "hold",
    [
        lambda scene: steering.pause(scene.database, scene.submit()),
        lambda scene: scene.submit(not_before="2999-01-01T00:00:00Z"),
        lambda scene: steering.cancel(scene.database, scene.submit()),
    ],
    ids=["paused", "early", "cancelled"],
)
def test_work_that_cannot_be_claimed_is_not_rung_for(scene: Scene, hold: Callable[[Scene], None]) -> None:
    an_idle_worker(scene)
    hold(scene)
    assert pools(scene) == []


def test_a_pool_whose_workers_are_all_busy_is_not_rung(scene: Scene) -> None:
    worker_id = scene.worker()
    scene.submit()
    with scene.database.begin() as session:
        fleet.beat(session, worker_id, "busy", None)
    assert pools(scene) == []


def test_a_keeper_outlives_its_database_sessions(scene: Scene) -> None:
    often = scene.settings.model_copy(update={"keeper_seconds": 0.1, "lease_seconds": 1.0})
    keeper = Keeper(often, scene.database, scene.doorbell)
    thread = threading.Thread(target=keeper.run)
    thread.start()
    scene.end_other_sessions()
    job_id = scene.submit()
    scene.let_leases_end(*scene.claim(scene.worker()))
    wait_until(lambda: scene.statuses(job_id) == ["queued"], seconds=10)
    keeper.stop()
    thread.join(10)


def test_a_keeper_waits_for_a_database_that_is_away(scene: Scene) -> None:
    often = scene.settings.model_copy(update={"keeper_seconds": 0.1})
    keeper = Keeper(often, Database("postgresql://farm@127.0.0.1:1/farm", Role.KEEPER), scene.doorbell)
    thread = threading.Thread(target=keeper.run)
    thread.start()
    thread.join(0.5)
    assert thread.is_alive()
    keeper.stop()
    thread.join(10)
    assert not thread.is_alive()


def test_every_lease_gets_time_to_be_renewed_after_an_outage(scene: Scene) -> None:
    job_id = scene.submit()
    leases = scene.claim(scene.worker())
    keeper = Keeper(scene.settings, Database("postgresql://farm@127.0.0.1:1/farm", Role.KEEPER), scene.doorbell)
    keeper.make_round()
    keeper._database = scene.database
    scene.let_leases_end(*leases)
    keeper.make_round()
    assert scene.statuses(job_id) == ["running"]


def test_the_time_to_renew_begins_when_an_outage_ends(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the outage was: a keeper that is patient already skips a step, and that says nothing."""
    now = 1000.0
    monkeypatch.setattr("farm.upkeep.keeper.time", SimpleNamespace(monotonic=lambda: now))
    job_id = scene.submit()
    leases = scene.claim(scene.worker())
    keeper = Keeper(scene.settings, Database("postgresql://farm@127.0.0.1:1/farm", Role.KEEPER), scene.doorbell)
    for _ in range(3):
        keeper.make_round()
        now += scene.settings.lease_seconds * 0.6
    keeper._database = scene.database
    scene.let_leases_end(*leases)
    keeper.make_round()
    assert scene.statuses(job_id) == ["running"]
    now += scene.settings.lease_seconds
    keeper.make_round()
    assert scene.statuses(job_id) == ["queued"]


def test_a_keeper_that_starts_gives_every_lease_time_to_be_renewed(scene: Scene) -> None:
    """It may start with Postgres, after an outage of both."""
    job_id = scene.submit()
    scene.let_leases_end(*scene.claim(scene.worker()))
    often = scene.settings.model_copy(update={"keeper_seconds": 0.1, "lease_seconds": 3.0})
    keeper = Keeper(often, scene.database, scene.doorbell)
    thread = threading.Thread(target=keeper.run)
    thread.start()
    thread.join(1.5)
    assert scene.statuses(job_id) == ["running"]
    wait_until(lambda: scene.statuses(job_id) == ["queued"], seconds=10)
    keeper.stop()
    thread.join(10)


@pytest.fixture
def failing_step(scene: Scene) -> Iterator[None]:
    """A database on which the look for overdue jobs fails, and all else works."""
    scene.execute("ALTER TABLE jobs RENAME COLUMN deadline TO elsewhere")
    yield
    scene.execute("ALTER TABLE jobs RENAME COLUMN elsewhere TO deadline")


def test_a_step_that_keeps_failing_postpones_no_expiry(
    scene: Scene, keeper: Keeper, request: pytest.FixtureRequest
) -> None:
    """Only a lost connection earns patience: the workers could renew all the while."""
    job_id = scene.submit()
    leases = scene.claim(scene.worker())
    request.getfixturevalue("failing_step")
    keeper.make_round()
    scene.let_leases_end(*leases)
    keeper.make_round()
    assert scene.statuses(job_id) == ["queued"]


def test_a_bug_in_a_step_keeps_no_other_from_being_made(
    scene: Scene, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(keeper, "_expire", fail)
    an_idle_worker(scene)
    scene.submit()
    with redis.Redis.from_url(scene.settings.required_redis_url) as client:
        client.flushall()
        keeper.make_round()
        assert client.llen(queue_name("default")) == 1


def test_an_overdue_job_that_cannot_be_cancelled_holds_up_no_other(
    scene: Scene, keeper: Keeper, pass_deadlines: Callable[[], None]
) -> None:
    first, second = (scene.submit(deadline="2999-01-01T00:00:00Z") for _ in range(2))
    pass_deadlines()
    # Its counters say less than it has: to bring them in step would make them negative.
    scene.execute("UPDATE tasks SET batch_key = 'more' WHERE job_id = :id AND seq = 0", id=first)
    scene.execute(
        "INSERT INTO counters (job_id, batch_key, owner_id, checkpoint_id, pool, priority, is_open) "
        "SELECT job_id, 'more', owner_id, checkpoint_id, pool, priority, is_open FROM counters WHERE job_id = :id",
        id=first,
    )
    keeper.make_round()
    assert scene.statuses(second) == ["cancelled"]


@pytest.mark.parametrize(
    ("sqlstate", "is_lost"),
    [("57P01", True), ("08006", True), (None, True), ("57014", False), ("40P01", False), ("55P03", False)],
    ids=["shut down", "connection failure", "no answer", "statement timeout", "deadlock", "lock timeout"],
)
def test_only_an_error_that_ends_a_connection_is_an_outage(sqlstate: str | None, is_lost: bool) -> None:
    original = psycopg.OperationalError()
    original.sqlstate = sqlstate
    assert is_lost_connection(OperationalError("SELECT 1", {}, original)) == is_lost


def test_a_task_that_cannot_be_taken_back_holds_up_no_other(scene: Scene, keeper: Keeper) -> None:
    stuck, other = scene.submit(), scene.submit(width=768)
    worker_id = scene.worker()
    scene.let_leases_end(*scene.claim(worker_id), *scene.claim(worker_id))
    # Its counters say less than it has: to bring them in step would make them negative.
    scene.execute("UPDATE counters SET running = 0 WHERE job_id = :id", id=stuck)
    keeper.make_round()
    assert scene.statuses(stuck) + scene.statuses(other) == ["running", "queued"]


def test_a_lease_that_stands_since_the_clock_was_set_back_is_ended(scene: Scene, keeper: Keeper) -> None:
    job_id = scene.submit()
    scene.claim(scene.worker())
    scene.execute("UPDATE tasks SET lease_until = now() + interval '5 hours'")
    keeper.make_round()
    assert scene.statuses(job_id) == ["queued"]
