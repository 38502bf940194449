"""The Celery end of the doorbell: each ring received wakes the children."""

import threading
import time
from collections.abc import Callable

import structlog
from celery.worker import WorkController
from kombu.entity import Queue

from farm.queue.doorbell import make_celery, queue_name

log = structlog.get_logger(__name__)

# Long enough that a queue full of such messages keeps no processor busy; meanwhile the children look by themselves.
_PAUSE_SECONDS = 0.5


class Bell:
    """Receives rings on a thread that dies with the process.

    A Redis that is down, slow or frozen holds up this thread alone: the children also look by
    themselves. Nothing needs a clean end either, since a ring carries nothing.
    """

    def __init__(self, redis_url: str, pool: str, on_ring: Callable[[], None]) -> None:
        self._celery = make_celery(redis_url, on_ring)
        self._queue = queue_name(pool)
        # Gone once it is read: one that Celery cannot read would be put back, and read for ever.
        self._celery.conf.task_queues = [Queue(self._queue, no_ack=True)]

    def start(self) -> None:
        threading.Thread(target=self._listen, name="bell", daemon=True).start()

    def _listen(self) -> None:
        """Listen for as long as the process lives.

        A message that is no ring (anybody who reaches Redis can leave one) may end Celery's worker; the next one
        receives what came after it.
        """
        # Celery runs a message in the thread's current app, which would otherwise be an empty default one.
        self._celery.set_current()
        while True:
            log.debug("Listening for rings.", queue=self._queue)
            try:
                self._make_controller().start()
            except Exception as error:  # whatever a foreign message has Celery raise
                log.warning(
                    "A message that is no ring was received; listening again.",
                    error=f"{type(error).__name__}: {error}",
                )
            time.sleep(_PAUSE_SECONDS)

    def _make_controller(self) -> WorkController:
        return WorkController(
            app=self._celery,
            pool_cls="solo",
            concurrency=1,
            queues=[self._queue],
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
        )
