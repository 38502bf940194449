"""The Celery end of the doorbell: each ring received wakes the children."""

import threading
from collections.abc import Callable

import structlog
from celery.worker import WorkController

from farm.queue import make_celery, queue_name

log = structlog.get_logger(__name__)


class Bell:
    """Listens for rings on a thread that dies with the process.

    A Redis that is down, slow or frozen holds up this thread alone: the children also look by
    themselves. Nothing needs a clean end either, since a ring carries nothing.
    """

    def __init__(self, redis_url: str, pool: str, on_ring: Callable[[], None]) -> None:
        self._celery = make_celery(redis_url, on_ring)
        self._queue = queue_name(pool)

    def start(self) -> None:
        threading.Thread(target=self._listen, name="bell", daemon=True).start()

    def _listen(self) -> None:
        # Celery runs a message in the thread's current app, which would otherwise be an empty default one.
        self._celery.set_current()
        controller = WorkController(
            app=self._celery,
            pool_cls="solo",
            concurrency=1,
            queues=[self._queue],
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
        )
        log.debug("Listening for rings.", queue=self._queue)
        controller.start()
