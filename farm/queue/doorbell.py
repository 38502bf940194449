"""The doorbell: a payload-free Celery message over Redis that says "there may be work".

A ring may be lost, doubled or late; nothing depends on it. The keeper rings again for forgotten
work, and idle workers look by themselves.
"""

import contextlib
from collections.abc import Callable
from functools import cached_property
from typing import Any

import structlog
from celery import Celery

from farm.errors import ConfigError
from farm.queue.planbell import PlanBell

log = structlog.get_logger(__name__)

RING = "farm.ring"

# Each value was chosen against a failure that was seen; see "How the ring is configured" in
# docs/architecture.md.
_CELERY_SETTINGS: dict[str, Any] = {
    "task_ignore_result": True,
    "task_serializer": "json",
    "accept_content": ["json"],
    "task_acks_late": False,
    "task_publish_retry": False,
    "worker_prefetch_multiplier": 1,
    "worker_send_task_events": False,
    "worker_enable_remote_control": False,
    "worker_hijack_root_logger": False,
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    "broker_transport_options": {
        # Without a timeout a frozen Redis holds the portal for ever.
        "socket_timeout": 4,
        "socket_connect_timeout": 2,
        "socket_keepalive": True,
        "health_check_interval": 10,
        "visibility_timeout": 60,
    },
}
_RING_EXPIRES_SECONDS = 30

# kombu's own patience with a Redis that refuses connections is 6 s; a submit must not pay for that.
_RING_ONCE = {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0}


def queue_name(pool: str) -> str:
    return f"ring.{pool}"


def broker_url(redis_url: str) -> str:
    """The Redis URL as kombu spells it: a Unix socket is `redis+socket://` there and `unix://` elsewhere."""
    if redis_url.startswith("unix://"):
        return "redis+socket://" + redis_url.removeprefix("unix://").replace("?db=", "?virtual_host=")
    return redis_url


def make_celery(redis_url: str, on_ring: Callable[[], None] | None = None) -> Celery:
    """The Celery app of this process. `on_ring` is called for each ring that this process receives."""
    app = Celery("farm", broker=broker_url(redis_url), set_as_current=False)
    app.conf.update(_CELERY_SETTINGS)

    def ring() -> None:
        if on_ring is not None:
            on_ring()

    # Shared, the task would be every app's of this process, and the first to define it would hear all
    # rings. Lazy, it would be made by whichever thread first asks for it.
    app.task(name=RING, shared=False, lazy=False)(ring)
    return app


def require_transport(redis_url: str) -> None:
    """Load what a ring goes through, and connect to nothing.

    Raises ConfigError where that fails: no ring will ever succeed here, however well Redis is.
    """
    try:
        _ = make_celery(redis_url).connection_for_write().transport
    except Exception as error:  # whatever an incomplete installation or a wrong URL raises
        raise ConfigError(
            f"Nothing can be rung from here ({type(error).__name__}: {error}). Check FARM_REDIS_URL; if that is "
            "right, install `diffusion-farm` again, with all that it requires."
        ) from error


class Doorbell:
    """Rings the workers of a pool. Never raises and never waits long: a ring is only a courtesy."""

    def __init__(self, redis_url: str) -> None:
        self._redis_url = redis_url
        self._plan_bell = PlanBell(redis_url)
        self.failures = 0

    def ring(self, pool: str, times: int = 1) -> None:
        """Ring so many workers of the pool, and the planner, since something is new there.

        A failure is counted and logged, not raised.
        """
        if self.ring_workers(pool, times):
            self._plan_bell.ring(pool)

    def ring_workers(self, pool: str, times: int = 1) -> bool:
        """Ring so many workers of the pool and nobody else; whether that went well."""
        try:
            for _ in range(max(1, times)):
                self._celery.send_task(RING, queue=queue_name(pool), expires=_RING_EXPIRES_SECONDS, retry=False)
        except Exception as error:  # the caller's work is committed: nothing that a ring meets may undo it
            self.failures += 1
            reason = f"{type(error).__name__}: {error}"
            log.warning("Could not ring; the keeper will.", pool=pool, error=reason, failures=self.failures)
            return False
        return True

    def close(self) -> None:
        self._plan_bell.close()
        with contextlib.suppress(Exception):  # as for a ring
            self._celery.close()

    @cached_property
    def _celery(self) -> Celery:
        """Made by the first ring, so that what goes wrong in it is no more the caller's than a lost ring is."""
        celery = make_celery(self._redis_url)
        options = celery.conf.broker_transport_options
        celery.conf.broker_transport_options = {**options, **_RING_ONCE}
        return celery
