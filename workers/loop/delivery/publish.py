"""Publishes uploaded images, those that were rendered together in one transaction, from a thread of its own."""

import queue
import threading
import time
from collections.abc import Callable, Sequence
from threading import Event

import structlog

from farm.crashpoints import reach
from farm.db.connection import PASSING, Database
from farm.errors import LeaseLost
from farm.queue import endings
from farm.queue.results import Finished
from workers.loop.delivery.pause import Pause
from workers.loop.delivery.pending import PendingImage, UploadedImage
from workers.loop.holdings import Holdings

log = structlog.get_logger(__name__)

_MOST_TOGETHER = 64
# Less than what anybody notices; a batch of images is encoded and uploaded within it, mostly.
_MATES_SECONDS = 0.3
_LOOK_SECONDS = 0.02
# Others hold a task for a moment, mostly; only a change of a giant job takes long.
_AGAIN_SECONDS = 0.5


class Publisher:
    """Gathers uploaded images and publishes them; in an outage again and again, while their leases stand.

    Those whose tasks others lock join the next ones, and hold up none.

    `are_more_coming` says whether further images are on their way: they are waited for, briefly. `on_published` is
    called with each that is, `on_refused` with the objects of each that another attempt was faster than, and
    `on_failed` with each that never will be published and why: LeaseLost where its lease is not held any more.
    """

    def __init__(
        self,
        database: Database,
        holdings: Holdings,
        ending: Event,
        *,
        are_more_coming: Callable[[], bool],
        on_published: Callable[[PendingImage], None],
        on_refused: Callable[[Finished], None],
        on_failed: Callable[[PendingImage, Exception], None],
    ) -> None:
        self._database = database
        self._holdings = holdings
        self._ending = ending
        self._pause = Pause(ending)
        self._are_more_coming = are_more_coming
        self._on_published = on_published
        self._on_refused = on_refused
        self._on_failed = on_failed
        self._uploaded: queue.Queue[UploadedImage | None] = queue.Queue()
        threading.Thread(target=self._run, name="publish", daemon=True).start()

    @property
    def is_held_up(self) -> bool:
        return self._pause.is_held_up

    def put(self, image: UploadedImage) -> None:
        self._uploaded.put(image)

    def stop(self) -> None:
        """What is not published stays in the spool. `ending` is set by then."""
        self._uploaded.put(None)

    def _run(self) -> None:
        left: list[UploadedImage] = []
        while (images := self._gather(left)) and not self._ending.is_set():
            left = []
            try:
                left = self._publish(images)
            except Exception:
                # Without this thread nothing would be delivered any more. What it had in hand waits in the spool.
                log.exception("Images could not be published.")

    def _gather(self, left: Sequence[UploadedImage]) -> list[UploadedImage]:
        """What was left at the last try, with what is uploaded by now or soon; nothing at the end."""
        try:
            first = self._uploaded.get(timeout=_AGAIN_SECONDS if left else None)
        except queue.Empty:
            return list(left)
        return [*left, *self._gather_mates(first)] if first else []

    def _gather_mates(self, first: UploadedImage) -> list[UploadedImage]:
        gathered = [first]
        deadline = time.monotonic() + _MATES_SECONDS
        while len(gathered) < _MOST_TOGETHER:
            is_waiting = time.monotonic() < deadline and self._are_more_coming() and not self._ending.is_set()
            try:
                image = self._uploaded.get(timeout=_LOOK_SECONDS) if is_waiting else self._uploaded.get_nowait()
            except queue.Empty:
                if is_waiting:
                    continue
                break
            if image is None:
                self.stop()
                break
            gathered.append(image)
        return gathered

    def _publish(self, images: Sequence[UploadedImage]) -> list[UploadedImage]:
        """Publish images together; where they cannot be, for a reason of theirs, each by itself.

        So an image that can never be published holds up none of its mates. Return those whose tasks others lock.
        """
        while (images := self._still_held(images)) and not self._ending.is_set():
            try:
                left = self._publish_together(images)
            except PASSING as error:
                log.warning("Could not publish images yet.", images=len(images), error=str(error.args[0]))
                self._pause.wait()
                continue
            except Exception as error:
                left = self._publish_one_by_one(images, error)
            self._pause.reset()
            return left
        return []

    def _publish_one_by_one(self, images: Sequence[UploadedImage], error: Exception) -> list[UploadedImage]:
        if len(images) == 1:
            self._on_failed(images[0].pending, error)
            return []
        log.warning("Images could not be published together.", images=len(images), error=str(error))
        return [left for image in images for left in self._publish([image])]

    def _still_held(self, images: Sequence[UploadedImage]) -> Sequence[UploadedImage]:
        """Nothing is deleted of the others: if the answer to a COMMIT was lost, the objects belong to a result."""
        held = []
        for image in images:
            if self._holdings.holds(image.lease):
                held.append(image)
            else:
                self._on_failed(image.pending, LeaseLost())
        return held

    def _publish_together(self, images: Sequence[UploadedImage]) -> list[UploadedImage]:
        reach("worker.gathered")
        with self._database.begin() as session:
            done = endings.publish_all(session, [image.finished for image in images])
            reach("worker.publishing")
        reach("worker.published")
        left = [image for image in images if image.lease.key in done.left]
        for image in (image for image in images if image.lease.key not in done.left):
            if image.lease.key in done.published:
                log.info("Attempt ended: succeeded.", **image.lease.log_fields())
            else:
                log.info("Attempt ended: refused, another attempt owns the task.", **image.lease.log_fields())
                self._on_refused(image.finished)
            self._on_published(image.pending)
        return left
