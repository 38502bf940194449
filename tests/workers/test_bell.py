"""The bell as the workers hear it: a real Redis, a real Celery message."""

import threading

from farm.config import Settings
from farm.queue import Doorbell
from workers.bell import Bell


def test_every_ring_is_heard(settings: Settings, doorbell: Doorbell) -> None:
    heard = threading.Semaphore(0)
    Bell(settings.required_redis_url, "default", heard.release).start()
    doorbell.ring("default", times=3)
    assert all(heard.acquire(timeout=20) for _ in range(3))


def test_a_ring_for_another_pool_is_not_heard(settings: Settings, doorbell: Doorbell) -> None:
    heard = threading.Semaphore(0)
    Bell(settings.required_redis_url, "fast", heard.release).start()
    doorbell.ring("slow")
    doorbell.ring("fast")
    assert heard.acquire(timeout=20)
    assert not heard.acquire(blocking=False)
