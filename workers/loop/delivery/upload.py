"""Uploads encoded images on threads of their own, without any connection to Postgres."""

import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event

import structlog

from farm.crashpoints import reach
from farm.errors import LeaseLost, StoreError
from farm.queue.claimed import Lease
from farm.queue.results import Finished, StoredObject
from farm.store.keys import RenderedRole, rendered_key
from farm.store.protocol import Store
from workers.loop.delivery import spoolfile
from workers.loop.delivery.pause import Pause
from workers.loop.delivery.pending import PendingImage, UploadedImage
from workers.loop.delivery.spoolfile import EncodedFile, FinishedImage
from workers.loop.holdings import Holdings

log = structlog.get_logger(__name__)


class Uploads:
    """Reads images from the spool and stores them. In an outage again and again, while the lease stands.

    `on_uploaded` is called with each that is stored, `on_failed` with each that never will be and why: the error is
    LeaseLost where its lease is not held any more.
    """

    def __init__(
        self,
        store: Store,
        holdings: Holdings,
        ending: Event,
        *,
        threads: int,
        on_uploaded: Callable[[UploadedImage], None],
        on_failed: Callable[[PendingImage, Exception], None],
    ) -> None:
        self._store = store
        self._holdings = holdings
        self._ending = ending
        self._pause = Pause(ending)
        self._on_uploaded = on_uploaded
        self._on_failed = on_failed
        self._pending: queue.Queue[PendingImage | Finished | None] = queue.Queue()
        self._threads = threads
        # Daemons: an upload that hangs must not keep a stopping process from its end.
        for number in range(threads):
            threading.Thread(target=self._run, name=f"upload-{number}", daemon=True).start()

    @property
    def is_held_up(self) -> bool:
        return self._pause.is_held_up

    @property
    def is_busy(self) -> bool:
        """Whether any image waits for the store or is on its way there."""
        return self._pending.unfinished_tasks > 0

    def put(self, image: PendingImage) -> None:
        self._pending.put(image)

    def discard(self, refused: Finished) -> None:
        """Delete the objects of an image that was refused, beside the uploads."""
        self._pending.put(refused)

    def stop(self) -> None:
        """What is not uploaded stays in the spool. `ending` is set by then."""
        for _ in range(self._threads):
            self._pending.put(None)

    def _run(self) -> None:
        while (waiting := self._pending.get()) is not None and not self._ending.is_set():
            try:
                if isinstance(waiting, Finished):
                    self._delete(waiting)
                else:
                    self._upload(waiting)
            finally:
                self._pending.task_done()

    def _upload(self, image: PendingImage) -> None:
        """One try. After an outage the image goes to the end of the queue, to be read from the spool again."""
        location = image.location
        try:
            finished = self._keep_all(spoolfile.read(location) if isinstance(location, Path) else location)
        except StoreError as error:
            log.warning("Could not store an image yet.", error=str(error.args[0]), **image.lease.log_fields())
        except Exception as error:
            self._on_failed(image, error)
            return
        else:
            self._pause.reset()
            self._on_uploaded(UploadedImage(image, finished))
            return
        # By now nothing holds the image's contents: any number may wait here.
        self._pause.wait()
        self._pending.put(image)

    def _keep_all(self, image: FinishedImage) -> Finished:
        """Raises StoreError in an outage; LeaseLost once the lease is lost."""
        started = time.monotonic()
        result = self._keep("result", image.lease, image.image)
        reach("worker.uploaded")
        thumbnail = self._keep("thumbnail", image.lease, image.thumbnail)
        reach("worker.stored")
        timings = {**image.timings, "store": time.monotonic() - started}
        return Finished(image.lease, result, thumbnail, image.provenance, timings, image.gpu_seconds, image.relief)

    def _keep(self, role: RenderedRole, lease: Lease, file: EncodedFile) -> StoredObject:
        """Upload to a key that names task and attempt."""
        key = rendered_key(
            role, job_id=lease.job_id, task_id=lease.task_id, attempt=lease.attempt, suffix=file.suffix
        )
        if not self._holdings.holds(lease):
            raise LeaseLost
        self._store.put(key, file.content, file.media_type)
        return StoredObject(role, key, file.sha256, len(file.content), file.media_type, file.width, file.height)

    def _delete(self, refused: Finished) -> None:
        """If that fails the keeper's sweep finds it."""
        for stored in (refused.image, refused.thumbnail):
            try:
                self._store.delete(stored.key)
            except StoreError as error:
                log.warning("Could not delete an orphan.", key=stored.key, error=str(error))
