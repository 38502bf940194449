"""The doorbell rings the right workers, and never holds anybody up."""

import json
import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from farm.embedded.redis import Redis
from farm.queue import RING, Doorbell, broker_url, make_celery, queue_name
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


def test_a_ring_carries_nothing_but_itself(scene: Scene, client: redis.Redis) -> None:
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


def test_what_listens_is_called_by_a_ring_though_its_process_rings_too(scene: Scene) -> None:
    scene.doorbell.ring("default")
    heard = threading.Event()
    celery = make_celery(scene.settings.required_redis_url, on_ring=heard.set)
    celery.tasks[RING].apply()
    assert heard.is_set()


def test_the_short_patience_of_a_doorbell_is_not_that_of_a_listener(scene: Scene) -> None:
    Doorbell(scene.settings.required_redis_url)
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


def the_ring(client: redis.Redis) -> dict[str, Any]:
    [message] = client.lrange(queue_name("default"), 0, -1)
    ring: dict[str, Any] = json.loads(message)
    return ring
