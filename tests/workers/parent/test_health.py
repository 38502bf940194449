"""What the parent of a machine's workers answers to probes."""

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field

import httpx
import pytest

from farm.config import Settings
from farm.db.connection import Database, Role
from farm.embedded.machine import build_environment, find_free_port
from farm.errors import ConfigError
from farm.queue.workers import fleet
from farm.queue.workers.fleet import WorkerState
from tests.factories import Scene
from tests.waiting import wait_until
from workers.parent.health import Outlook, describe_slot, serve_health


@dataclass
class AParent:
    """A parent as probes see it, with workers on some devices."""

    database: Database
    slots: dict[str, int | None] = field(default_factory=dict)
    is_stopping: bool = False
    seconds_since_round: float = 0.1

    def worker_ids(self) -> dict[str, int | None]:
        return self.slots


def an_outlook(parent: AParent) -> Outlook:
    """An outlook that has just looked."""
    outlook = Outlook(parent)
    outlook.look()
    return outlook


def an_open_worker(scene: Scene, device: str = "cpu") -> int:
    worker_id = scene.worker(device)
    with scene.database.begin() as session:
        fleet.beat(session, worker_id, "idle", None)
    return worker_id


@pytest.mark.parametrize(
    ("row", "part"),
    [
        (WorkerState("idle", None), "ok"),
        (WorkerState("busy", None), "ok"),
        (WorkerState("starting", None), "is starting"),
        (None, "is starting"),
        (WorkerState("idle", "could not claim"), "is in trouble: `farm workers` says what it is"),
        (WorkerState("starting", "it has no CUDA"), "is in trouble: `farm workers` says what it is"),
        (WorkerState("offline", "not heard of"), "is gone: `farm workers` says why"),
        (WorkerState("drained", None), "takes no work: it drains"),
    ],
)
def test_a_device_is_ready_when_its_worker_is_open_and_nothing_troubles_it(
    row: WorkerState | None, part: str
) -> None:
    assert describe_slot(7, row) == part


def test_a_device_without_a_process_is_not_ready() -> None:
    assert describe_slot(None, None) == "has no worker process now; one is started"


def test_workers_are_ready_when_each_of_them_is(scene: Scene) -> None:
    parent = AParent(
        scene.database,
        {"cuda:0": an_open_worker(scene, "cuda:0"), "cuda:1": scene.worker("cuda:1", status="starting")},
    )
    assert an_outlook(parent).readiness() == {"database": "ok", "cuda:0": "ok", "cuda:1": "is starting"}


def test_the_trouble_of_a_worker_is_shown_to_no_probe(scene: Scene) -> None:
    """Probes need no key, and what libraries say names hosts, users and paths."""
    worker_id = an_open_worker(scene)
    scene.trouble(worker_id, 'connection to server at "10.1.2.3" failed for user "farm"')
    readiness = an_outlook(AParent(scene.database, {"cpu": worker_id})).readiness()
    assert readiness["cpu"] == "is in trouble: `farm workers` says what it is"


def test_requests_that_do_not_end_leave_room_for_probes(settings: Settings) -> None:
    """Each is cut off after a while, and so many at a time take no more threads than there is room for."""
    dead = Database("postgresql://farm@127.0.0.1:1/farm", Role.WORKER)
    with with_port(settings) as (settings, url), ExitStack() as slow:
        serve_health(settings, AParent(dead))
        before = threading.active_count()
        for _ in range(60):
            client = slow.enter_context(socket.create_connection(("127.0.0.1", settings.worker_port)))
            client.sendall(b"GET ")
        assert threading.active_count() - before <= 2 * 16
        wait_until(lambda: is_well(url))


def is_well(url: str) -> bool:
    return answers(f"{url}/healthz")


def is_ready(url: str) -> bool:
    return answers(f"{url}/readyz")


def answers(url: str) -> bool:
    try:
        return httpx.get(url).is_success
    except httpx.TransportError:
        return False


def test_workers_without_postgres_are_healthy_but_not_ready(scene: Scene) -> None:
    with closing(Database("postgresql://farm@127.0.0.1:1/farm", Role.WORKER)) as dead:
        outlook = an_outlook(AParent(dead, {"cpu": 1}))
        assert outlook.readiness() == {"database": "does not answer"}
        assert outlook.health() == {"rounds": "ok"}


def test_a_parent_that_makes_no_more_rounds_is_not_healthy(scene: Scene) -> None:
    assert Outlook(AParent(scene.database, seconds_since_round=500)).health() == {"rounds": "none for 500 s"}


def test_draining_workers_are_healthy_for_as_long_as_it_takes_but_not_ready(scene: Scene) -> None:
    outlook = an_outlook(AParent(scene.database, is_stopping=True, seconds_since_round=500))
    assert outlook.health() == {"rounds": "ok"}
    assert outlook.readiness() == {"workers": "are draining"}


def test_a_probe_does_not_wait_for_a_postgres_that_does_not_answer(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, with_port(settings) as (settings, url):
        database_url = f"postgresql://farm@127.0.0.1:{silent.getsockname()[1]}/farm"
        serve_health(settings, AParent(Database(database_url, Role.WORKER), {"cpu": 1}))
        answer = httpx.get(f"{url}/readyz", timeout=3)
    assert (answer.status_code, answer.json()["parts"]) == (503, {"database": "does not answer"})


def test_many_probes_take_one_connection(scene: Scene) -> None:
    database = Database.of(scene.settings, Role.WORKER)
    with with_port(scene.settings) as (settings, url), closing(database):
        serve_health(settings, AParent(database, {"cpu": an_open_worker(scene)}))
        wait_until(lambda: httpx.get(f"{url}/readyz").is_success)
        assert all(httpx.get(f"{url}/readyz").is_success for _ in range(50))
        query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'farm-worker'"
        assert scene.scalar(query) == 1


def test_a_port_that_is_taken_is_named(settings: Settings) -> None:
    with with_port(settings) as (settings, _), socket.create_server(("127.0.0.1", settings.worker_port or 0)):
        with pytest.raises(ConfigError, match="FARM_WORKER_PORT: cannot bind"):
            serve_health(settings, AParent(Database.of(settings, Role.WORKER)))


@contextmanager
def with_port(settings: Settings) -> Iterator[tuple[Settings, str]]:
    """Settings with a port for probes, and the address of it."""
    port = find_free_port("127.0.0.1", 0)
    yield settings.model_copy(update={"worker_port": port}), f"http://127.0.0.1:{port}"


PARENT = "from workers.main import main; main('tests.chaos.child')"


def test_the_workers_of_a_machine_answer_probes_until_they_end(scene: Scene) -> None:
    with with_port(scene.settings) as (settings, url):
        command = [sys.executable, "-c", PARENT, "--devices", "cpu:2"]
        with subprocess.Popen(command, env=build_environment(settings)) as parent:
            wait_until(lambda: is_ready(url))
            answer = httpx.get(f"{url}/readyz").json()
            assert httpx.get(f"{url}/healthz").is_success
            assert httpx.get(f"{url}/metrics").status_code == 404
            parent.send_signal(signal.SIGTERM)
    assert answer == {"status": "ready", "parts": {"database": "ok", "cpu:0": "ok", "cpu:1": "ok"}}
    assert not is_ready(url)
