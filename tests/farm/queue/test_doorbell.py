"""The doorbell rings the right workers, and never holds anybody up."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from farm.embedded.machine import build_environment
from farm.embedded.redis import Redis
from farm.queue import steering
from farm.queue.doorbell import RING, Doorbell, broker_url, make_celery, queue_name, require_transport
from farm.queue.workers import fleet
from farm.upkeep.keeper import Keeper
from tests.factories import Scene


@pytest.fixture
def client(scene: Scene) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(scene.settings.required_redis_url) as client:
        yield client


@pytest.fixture
def own_redis(server_folder: Path) -> Iterator[Redis]:
    """A Redis that a test may freeze or kill."""
    folder = Path(tempfile.mkdtemp(dir=server_folder))
    server = Redis(folder / "data", folder / "run")
    server.start()
    yield server
    assert server.process is not None
    if server.process.poll() is None:
        server.process.send_signal(signal.SIGCONT)
    server.stop()


@pytest.mark.parametrize(
    ("redis_url", "expected"),
    [
        ("redis://host:6379/1", "redis://host:6379/1"),
        ("rediss://user:word@host/0", "rediss://user:word@host/0"),
        ("unix:///run/redis.sock", "redis+socket:///run/redis.sock"),
        ("unix:///run/redis.sock?db=3", "redis+socket:///run/redis.sock?virtual_host=3"),
    ],
)
def test_a_redis_url_is_spelt_as_celery_wants_it(redis_url: str, expected: str) -> None:
    assert broker_url(redis_url) == expected


def test_a_ring_reaches_the_list_of_its_pool(scene: Scene, client: redis.Redis) -> None:
    scene.doorbell.ring("large", times=3)
    assert client.llen(queue_name("large")) == 3
    assert client.llen(queue_name("default")) == 0


def test_a_ring_carries_no_arguments(scene: Scene, client: redis.Redis) -> None:
    scene.doorbell.ring("default")
    message = the_ring(client)
    assert message["headers"]["task"] == RING
    assert (message["headers"]["argsrepr"], message["headers"]["kwargsrepr"]) == ("()", "{}")


def test_a_ring_that_nobody_hears_expires(scene: Scene, client: redis.Redis) -> None:
    scene.doorbell.ring("default")
    assert the_ring(client)["headers"]["expires"] is not None


def test_a_submit_rings_as_many_workers_as_it_has_images(scene: Scene, client: redis.Redis) -> None:
    for device in "0123":
        scene.worker(device)
    scene.submit(images_per_prompt=2)
    assert client.llen(queue_name("default")) == 2


def test_a_listener_is_called_by_a_ring_even_if_its_process_rings_too(scene: Scene) -> None:
    scene.doorbell.ring("default")
    heard = threading.Event()
    celery = make_celery(scene.settings.required_redis_url, on_ring=heard.set)
    celery.tasks[RING].apply()
    assert heard.is_set()


def test_the_short_patience_of_a_doorbell_is_not_that_of_a_listener(scene: Scene) -> None:
    scene.doorbell.ring("default")
    celery = make_celery(scene.settings.required_redis_url)
    assert "max_retries" not in celery.conf.broker_transport_options


def test_a_dead_redis_is_counted_and_raises_nothing(own_redis: Redis) -> None:
    doorbell = Doorbell(own_redis.url)
    doorbell.ring("default")
    own_redis.stop()
    started = time.monotonic()
    doorbell.ring("default", times=16)
    assert time.monotonic() - started < 2
    assert doorbell.failures == 1
    doorbell.close()


def test_a_frozen_redis_costs_a_bounded_time(own_redis: Redis) -> None:
    assert own_redis.process is not None
    doorbell = Doorbell(own_redis.url)
    doorbell.ring("default")
    os.kill(own_redis.process.pid, signal.SIGSTOP)
    started = time.monotonic()
    doorbell.ring("default", times=16)
    assert time.monotonic() - started < 10
    assert doorbell.failures == 1
    os.kill(own_redis.process.pid, signal.SIGCONT)
    doorbell.close()


def test_a_doorbell_works_again_once_redis_does(own_redis: Redis) -> None:
    doorbell = Doorbell(own_redis.url)
    own_redis.stop()
    doorbell.ring("default")
    own_redis.start()
    doorbell.ring("default")
    with redis.Redis.from_url(own_redis.url) as client:
        assert client.llen(queue_name("default")) == 1
    doorbell.close()


# What kombu and redis raise for these is none of their own errors.
@pytest.mark.parametrize("url", ["redis://host:1/no-number", "redis://host/0?no_such_option=1", "redis://[::1", ""])
def test_any_failure_of_a_ring_is_counted_and_raises_nothing(url: str) -> None:
    doorbell = Doorbell(url)
    doorbell.ring("default")
    doorbell.close()
    assert doorbell.failures == 1


@pytest.fixture
def broken(scene: Scene) -> Scene:
    """A farm at work whose doorbell fails in ways that nobody foresaw."""
    return dataclasses.replace(scene, doorbell=Doorbell("redis://host:1/no-number"))


def test_a_ring_that_fails_keeps_no_job_from_being_accepted_resumed_and_retried(broken: Scene) -> None:
    job_id = broken.submit()
    steering.pause(broken.database, job_id)
    steering.resume(broken.database, broken.doorbell, job_id)
    broken.fail(*broken.claim(broken.worker()), is_retryable=False)
    steering.retry(broken.database, broken.settings, broken.doorbell, job_id)
    assert broken.statuses(job_id) == ["queued"]
    assert broken.doorbell.failures == 3


def test_a_ring_that_fails_ends_no_round_of_the_keeper(broken: Scene) -> None:
    broken.submit()
    with broken.database.begin() as session:
        fleet.beat(session, broken.worker(), "idle", None)
    Keeper(broken.settings, broken.database, broken.doorbell).make_round()
    assert broken.doorbell.failures == 2


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "unix:///nowhere/redis.sock", "rediss://127.0.0.1:1"])
def test_a_missing_redis_is_not_taken_for_a_missing_transport(url: str) -> None:
    require_transport(url)


WITHOUT_TRANSPORT = """
import sys
sys.modules["kombu.transport.redis"] = None
sys.argv = ["farm", *sys.argv[1:]]
if sys.argv[1] == "worker":
    from workers.main import main
    sys.argv[1:2] = []
else:
    from farm.cli.main import main
main()
"""


@pytest.mark.parametrize("program", [["keeper"], ["worker", "--devices", "cpu"]])
def test_a_program_without_a_transport_for_rings_reports_it_and_does_not_start(
    scene: Scene, program: list[str]
) -> None:
    started = subprocess.run(
        [sys.executable, "-c", WITHOUT_TRANSPORT, *program],
        env={**os.environ, **build_environment(scene.settings)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert started.returncode == 2
    assert "Nothing can be rung from here" in started.stderr


def the_ring(client: redis.Redis) -> dict[str, Any]:
    [message] = client.lrange(queue_name("default"), 0, -1)
    ring: dict[str, Any] = json.loads(message)
    return ring
