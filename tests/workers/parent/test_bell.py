"""The bell as the workers hear it: a real Redis, a real Celery message, in a process of its own."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from farm.config import Settings
from farm.queue.doorbell import Doorbell

LISTEN = """
import sys
from workers.parent.bell import Bell

Bell(sys.argv[1], "fast", lambda: print("heard", flush=True)).start()
sys.stdin.read()
"""


@pytest.fixture
def listener(settings: Settings, doorbell: Doorbell) -> Iterator[subprocess.Popen[str]]:
    """A process that says a word for each ring of the pool `fast`."""
    command = [sys.executable, "-c", LISTEN, settings.required_redis_url]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        yield process


def heard(listener: subprocess.Popen[str], seconds: float = 5) -> int:
    """End the listener when it had time to hear, and count what it heard."""
    with pytest.raises(subprocess.TimeoutExpired):
        listener.wait(seconds)
    said, _ = listener.communicate()
    return said.count("heard")


def test_every_ring_is_received(listener: subprocess.Popen[str], doorbell: Doorbell) -> None:
    doorbell.ring("fast", times=3)
    assert heard(listener) == 3


def test_a_ring_for_another_pool_is_not_received(listener: subprocess.Popen[str], doorbell: Doorbell) -> None:
    doorbell.ring("slow")
    assert heard(listener) == 0


def test_malformed_messages_do_not_end_the_listening(
    listener: subprocess.Popen[str], doorbell: Doorbell, settings: Settings
) -> None:
    doorbell.ring("fast")
    with redis.Redis.from_url(settings.required_redis_url) as client:
        # As the doorbell writes one, without what Celery cannot do without.
        ring = json.loads(client.lpop("ring.fast") or "{}")
        for junk in (b"no JSON", b"[]", b"[" * 100_000, *(json.dumps(message) for message in _mutilated(ring))):
            client.lpush("ring.fast", junk)
    doorbell.ring("fast")
    assert heard(listener, seconds=15) == 1


def _mutilated(ring: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield {**ring, "headers": 5}
    yield {**ring, "body": "%%%"}
    yield {**ring, "headers": {name: value for name, value in ring["headers"].items() if name != "id"}}
