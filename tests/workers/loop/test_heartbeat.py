"""Leases are kept alive, and what was lost is heard of."""

from collections.abc import Callable, Iterator
from threading import Event

import pytest
from sqlalchemy import text

from farm.config import Settings
from farm.db.connection import Database, Role
from farm.queue import steering
from farm.queue.claimed import Lease
from farm.queue.workers.fleet import DeviceReport
from tests.factories import Scene
from tests.waiting import wait_until
from workers.loop.heartbeat import Heartbeat
from workers.loop.holdings import Holdings

NOWHERE = "postgresql://farm@127.0.0.1:1/farm"


@pytest.fixture
def fast(settings: Settings) -> Settings:
    """Leases of a second: a heartbeat four times in that."""
    return settings.model_copy(update={"lease_seconds": 1.0})


@pytest.fixture
def holdings() -> Holdings:
    return Holdings()


@pytest.fixture
def ended() -> Event:
    """Set once the heartbeat asks its worker to end."""
    return Event()


@pytest.fixture
def beating(scene: Scene, fast: Settings, holdings: Holdings, ended: Event) -> Iterator[Callable[[int], Heartbeat]]:
    started: list[Heartbeat] = []

    def start(worker_id: int) -> Heartbeat:
        started.append(Heartbeat(fast, scene.database, worker_id, holdings, ended.set))
        started[-1].start()
        return started[-1]

    yield start
    for heartbeat in started:
        heartbeat.stop()


Beating = Callable[[int], Heartbeat]


def status(scene: Scene) -> str:
    return str(scene.scalar("SELECT status FROM workers"))


def claim(scene: Scene, holdings: Holdings, worker_id: int) -> Lease:
    scene.submit()
    [lease] = scene.claim(worker_id)
    holdings.take([lease])
    return lease


def test_a_held_lease_is_renewed(scene: Scene, beating: Beating, holdings: Holdings) -> None:
    worker_id = scene.worker()
    lease = claim(scene, holdings, worker_id)
    scene.let_lease_end_of(worker_id)
    beating(worker_id)
    wait_until(lambda: scene.scalar("SELECT lease_until > now() FROM workers"))
    assert holdings.holds(lease)


def test_the_lease_of_a_cancelled_task_is_dropped(scene: Scene, beating: Beating, holdings: Holdings) -> None:
    worker_id = scene.worker()
    lease = claim(scene, holdings, worker_id)
    beating(worker_id)
    steering.cancel(scene.database, lease.job_id)
    wait_until(lambda: not holdings.all(), seconds=10)


def test_a_lease_that_another_worker_got_is_dropped(scene: Scene, beating: Beating, holdings: Holdings) -> None:
    worker_id = scene.worker()
    lease = claim(scene, holdings, worker_id)
    scene.let_leases_end(lease)
    scene.expire()
    scene.claim(scene.worker("another"))
    beating(worker_id)
    wait_until(lambda: not holdings.all(), seconds=10)


def overlook(scene: Scene, worker_id: int) -> Lease:
    """A task that the worker runs by the record, for longer than a lease, and knows nothing of."""
    lease = claim(scene, Holdings(), worker_id)
    scene.execute("UPDATE attempts SET started_at = now() - interval '1 hour'")
    return lease


@pytest.mark.parametrize("table", ["tasks", "counters", "jobs"])
def test_a_lease_is_renewed_while_others_hold_what_an_overlooked_task_needs(
    scene: Scene, beating: Beating, holdings: Holdings, table: str
) -> None:
    worker_id = scene.worker()
    overlooked, lease = overlook(scene, worker_id), claim(scene, holdings, worker_id)
    scene.let_lease_end_of(worker_id)
    column = "id" if table == "jobs" else "job_id"
    with scene.database.begin() as session:
        session.execute(text(f"SELECT FROM {table} WHERE {column} = {overlooked.job_id} FOR UPDATE"))
        beating(worker_id)
        wait_until(lambda: scene.scalar("SELECT lease_until > now() FROM workers"), seconds=4)
    wait_until(lambda: scene.statuses(overlooked.job_id) == ["queued"], seconds=10)
    assert holdings.holds(lease)


def test_an_overlooked_task_is_left_to_a_worker_that_is_taking_over_images(
    scene: Scene, fast: Settings, holdings: Holdings
) -> None:
    worker_id = scene.worker()
    lease = overlook(scene, worker_id)
    heartbeat = Heartbeat(fast, scene.database, worker_id, holdings, Event().set)
    with holdings.adopting():
        heartbeat._beat_once()
    assert scene.statuses(lease.job_id) == ["running"]
    heartbeat._beat_once()
    assert scene.statuses(lease.job_id) == ["queued"]


def test_a_heartbeat_reports_what_the_worker_does(scene: Scene, beating: Beating) -> None:
    heartbeat = beating(scene.worker())
    wait_until(lambda: status(scene) == "idle")
    heartbeat.report_status("busy", None)
    wait_until(lambda: status(scene) == "busy")
    heartbeat.report_status("draining", None)
    wait_until(lambda: status(scene) == "draining")


def test_a_heartbeat_reports_the_device_once(scene: Scene, beating: Beating) -> None:
    heartbeat = beating(scene.worker())
    heartbeat.report_status("busy", None, DeviceReport("a processor", 2**33, residents=[7], busy_seconds=60))
    wait_until(lambda: scene.scalar("SELECT residents FROM workers") == [7])
    free_at = scene.scalar("SELECT free_at FROM workers")
    heartbeat.report_status("idle", None)
    wait_until(lambda: status(scene) == "idle")
    assert free_at == scene.scalar("SELECT free_at FROM workers") is not None


def test_a_change_of_status_is_reported_at_once(scene: Scene, settings: Settings, holdings: Holdings) -> None:
    heartbeat = Heartbeat(
        settings.model_copy(update={"lease_seconds": 3600.0}), scene.database, scene.worker(), holdings, Event().set
    )
    heartbeat.start()
    wait_until(lambda: status(scene) == "idle")
    heartbeat.report_status("draining", None)
    wait_until(lambda: status(scene) == "draining", seconds=2)
    heartbeat.stop()


def test_a_drained_worker_without_leases_is_reported_as_drained(scene: Scene, beating: Beating) -> None:
    beating(scene.worker())
    scene.drain()
    wait_until(lambda: status(scene) == "drained")


def test_a_drained_worker_with_a_lease_is_reported_as_draining(
    scene: Scene, beating: Beating, holdings: Holdings
) -> None:
    worker_id = scene.worker()
    lease = claim(scene, holdings, worker_id)
    beating(worker_id).report_status("busy", None)
    scene.drain()
    wait_until(lambda: status(scene) == "draining")
    assert holdings.holds(lease)
    holdings.drop([lease])
    wait_until(lambda: status(scene) == "drained")


def test_a_restored_worker_reports_what_it_does_again(scene: Scene, beating: Beating) -> None:
    beating(scene.worker())
    scene.drain()
    wait_until(lambda: status(scene) == "drained")
    scene.restore()
    wait_until(lambda: status(scene) == "idle")


def test_a_worker_that_starts_out_of_service_is_reported_as_drained_at_once(
    scene: Scene, settings: Settings, holdings: Holdings
) -> None:
    slow = settings.model_copy(update={"lease_seconds": 3600.0})
    worker_id = scene.worker()
    scene.drain()
    heartbeat = Heartbeat(slow, scene.database, worker_id, holdings, Event().set)
    heartbeat.start()
    wait_until(lambda: status(scene) == "drained", seconds=2)
    heartbeat.stop()


def test_no_lease_is_given_up_while_postgres_is_away(scene: Scene, fast: Settings, holdings: Holdings) -> None:
    lease = claim(scene, holdings, scene.worker())
    heartbeat = Heartbeat(fast, Database(NOWHERE, Role.WORKER), 1, holdings, Event().set)
    heartbeat.start()
    heartbeat._thread.join(0.8)
    assert heartbeat._thread.is_alive()
    assert holdings.holds(lease)
    heartbeat.stop()


def test_a_worker_that_the_farm_has_forgotten_ends(scene: Scene, beating: Beating, ended: Event) -> None:
    """Its row is deleted after a week without a word: nothing it claims could name it."""
    worker_id = scene.worker()
    scene.scalar("DELETE FROM workers RETURNING id")
    beating(worker_id)
    assert ended.wait(5)


def test_the_trouble_of_a_worker_is_reported_until_it_is_over(scene: Scene, beating: Beating) -> None:
    heartbeat = beating(scene.worker())
    heartbeat.report_trouble("claim", "it cannot claim work")
    wait_until(lambda: scene.scalar("SELECT reason FROM workers") == "it cannot claim work")
    heartbeat.report_trouble("spool", "its spool is full")
    wait_until(lambda: scene.scalar("SELECT reason FROM workers") == "it cannot claim work; its spool is full")
    for cause in ("claim", "spool"):
        heartbeat.report_trouble(cause, None)
    wait_until(lambda: scene.scalar("SELECT reason FROM workers") is None)
