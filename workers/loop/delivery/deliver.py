"""What happens to rendered pixels while the device is busy with the next batch: encode, spool, store, publish."""

import queue
import threading
import time
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from threading import BoundedSemaphore

import structlog
from sqlalchemy.exc import SQLAlchemyError

from farm.crashpoints import reach
from farm.db.connection import PASSING, Database
from farm.errors import LeaseLost, StoreError
from farm.queue import endings
from farm.queue.claimed import Lease
from farm.queue.endings import StoredObject
from farm.store.keys import RenderedRole, rendered_key
from farm.store.protocol import Store
from workers.loop.delivery import adoption, spoolfile
from workers.loop.delivery.rendered import RenderedImage, encode_rendered
from workers.loop.delivery.spool import Spool
from workers.loop.delivery.spoolfile import EncodedFile, FinishedImage
from workers.loop.holdings import Holdings

log = structlog.get_logger(__name__)

_SHORTEST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 5.0

_OUTAGES = (StoreError, *PASSING)


@dataclass(frozen=True)
class _PendingImage:
    """An encoded image that is not delivered: in the spool, or in memory where the disk had no room; never both."""

    lease: Lease
    location: Path | FinishedImage


class Delivery:
    """Delivers images on threads of its own.

    1. Encode, and write into the spool: from here on the image outlives this process.
       Only its path is handed on: what waits takes disk, not memory.
    2. Upload and publish. In an outage again and again, with pauses, while the lease stands.

    At `limit` images not yet encoded `accept` waits: memory stays bounded. The spool is bounded by
    its bytes: `is_full` says when no further batch should be claimed.
    """

    def __init__(
        self,
        database: Database,
        store: Store,
        holdings: Holdings,
        spool: Spool,
        *,
        threads: int,
        limit: int,
        lease_seconds: float,
    ) -> None:
        self._lease_seconds = lease_seconds
        self._database = database
        self._store = store
        self._holdings = holdings
        self._spool = spool
        self._encoders = ThreadPoolExecutor(threads, thread_name_prefix="encode")
        self._room = BoundedSemaphore(limit)
        self._encoding: set[Future[None]] = set()
        self._pending: queue.Queue[_PendingImage | None] = queue.Queue()
        self._in_memory: set[Lease] = set()
        self._pause_seconds = _SHORTEST_PAUSE_SECONDS
        self._is_held_up = False
        self._ending = threading.Event()
        self._threads = threads
        # Daemons: an upload that hangs must not keep a stopping process from its end.
        for number in range(threads):
            threading.Thread(target=self._run, name=f"upload-{number}", daemon=True).start()

    @property
    def is_full(self) -> bool:
        return self._spool.is_full or bool(self._in_memory)

    @property
    def is_held_up(self) -> bool:
        """Whether the last try to deliver met a store or a Postgres that did not take it."""
        return self._is_held_up

    def accept(self, rendered: RenderedImage) -> None:
        """Take over an image; its lease is dropped when it is published, or found lost."""
        self._room.acquire()
        self._spool.expect(rendered.lease, rendered.picture.pixels.nbytes)
        encoding = self._encoders.submit(self._encode, rendered)
        self._encoding.add(encoding)
        encoding.add_done_callback(self._encoding.discard)
        encoding.add_done_callback(lambda _: self._room.release())

    def wait_until_spooled(self) -> None:
        """Return once all that was accepted outlives this process, or waits in memory for room."""
        futures.wait(self._encoding.copy())

    def adopt(self) -> None:
        """Take over the images of workers of this machine that are gone."""
        for lease, path in adoption.adopt(self._database, self._spool, self._lease_seconds):
            self._holdings.take([lease])
            self._pending.put(_PendingImage(lease, path))

    def close(self, seconds: float) -> bool:
        """Wait so long for what was accepted to be delivered; say whether all was. The rest stays in the spool."""
        self._encoders.shutdown()
        deadline = time.monotonic() + seconds
        while self._pending.unfinished_tasks and time.monotonic() < deadline:
            time.sleep(0.01)
        is_done = not self._pending.unfinished_tasks
        self._ending.set()
        for _ in range(self._threads):
            self._pending.put(None)
        return is_done

    def _encode(self, rendered: RenderedImage) -> None:
        try:
            self._pending.put(self._write_to_spool(encode_rendered(rendered)))
        except Exception as error:
            self._give_up(rendered.lease, error)
        finally:
            self._spool.give_up(rendered.lease)

    def _write_to_spool(self, finished: FinishedImage) -> _PendingImage:
        reach("worker.encoded")
        try:
            path = self._spool.put(finished)
        except OSError as error:
            log.warning("The spool has no room; an image waits in memory.", error=error.strerror)
            self._in_memory.add(finished.lease)
            return _PendingImage(finished.lease, finished)
        reach("worker.spooled")
        return _PendingImage(finished.lease, path)

    def _run(self) -> None:
        while (pending := self._pending.get()) is not None and not self._ending.is_set():
            try:
                self._deliver(pending)
            finally:
                self._pending.task_done()

    def _deliver(self, pending: _PendingImage) -> None:
        """One try. After an outage the image goes to the end of the queue, to be read from the spool again."""
        if self._try_delivering(pending):
            self._forget(pending)
        else:
            # By now nothing holds the image's contents: any number may wait here.
            self._pause()
            self._pending.put(pending)

    def _try_delivering(self, pending: _PendingImage) -> bool:
        """Try to deliver an image; whether no further try is due."""
        location = pending.location
        try:
            self._store_and_publish(spoolfile.read(location) if isinstance(location, Path) else location)
        except _OUTAGES as error:
            log.warning("Could not deliver an image yet.", error=str(error.args[0]), **pending.lease.log_fields())
            self._is_held_up = True
            return False
        except LeaseLost:
            # Nothing is deleted here: if the answer to a COMMIT was lost, the objects are those of a result.
            log.info("Attempt ended: its lease was lost before it was stored.", **pending.lease.log_fields())
        except Exception as error:
            self._give_up(pending.lease, error)
        else:
            self._pause_seconds = _SHORTEST_PAUSE_SECONDS
            self._is_held_up = False
        return True

    def _pause(self) -> None:
        self._ending.wait(self._pause_seconds)
        self._pause_seconds = min(self._pause_seconds * 2, _LONGEST_PAUSE_SECONDS)

    def _forget(self, pending: _PendingImage) -> None:
        """The lease first: a disk that fails must neither keep it renewed nor end this thread."""
        self._holdings.drop([pending.lease])
        self._in_memory.discard(pending.lease)
        if isinstance(pending.location, Path):
            try:
                self._spool.drop(pending.location)
            except OSError as error:
                log.warning("Could not delete from the spool.", error=str(error), **pending.lease.log_fields())

    def _store_and_publish(self, finished: FinishedImage) -> None:
        """Raises StoreError, and what SQLAlchemy raises in an outage; LeaseLost once the lease is lost."""
        started = time.monotonic()
        image = self._keep("result", finished.lease, finished.image)
        reach("worker.uploaded")
        thumbnail = self._keep("thumbnail", finished.lease, finished.thumbnail)
        reach("worker.stored")
        timings = {**finished.timings, "store": time.monotonic() - started}
        if self._publish(replace(finished, timings=timings), image, thumbnail):
            log.info("Attempt ended: succeeded.", **finished.lease.log_fields())
        else:
            log.info("Attempt ended: refused, another attempt owns the task.", **finished.lease.log_fields())
            self._discard(image, thumbnail)

    def _keep(self, role: RenderedRole, lease: Lease, file: EncodedFile) -> StoredObject:
        """Upload to a key that names task and attempt."""
        key = rendered_key(
            role, job_id=lease.job_id, task_id=lease.task_id, attempt=lease.attempt, suffix=file.suffix
        )
        if not self._holdings.holds(lease):
            raise LeaseLost
        self._store.put(key, file.content, file.media_type)
        return StoredObject(role, key, file.sha256, len(file.content), file.media_type, file.width, file.height)

    def _publish(self, finished: FinishedImage, image: StoredObject, thumbnail: StoredObject) -> bool:
        with self._database.begin() as session:
            is_published = endings.publish(
                session,
                finished.lease,
                image,
                thumbnail,
                provenance=finished.provenance,
                timings=finished.timings,
                gpu_seconds=finished.gpu_seconds,
                relief=finished.relief,
            )
            reach("worker.publishing")
        reach("worker.published")
        return is_published

    def _discard(self, *objects: StoredObject) -> None:
        """Delete what was refused. If that fails the keeper's sweep finds it."""
        for stored in objects:
            try:
                self._store.delete(stored.key)
            except StoreError as error:
                log.warning("Could not delete an orphan.", key=stored.key, error=str(error))

    def _give_up(self, lease: Lease, error: Exception) -> None:
        """A bug must not hold the lease for ever: the task is tried again, the trace is kept."""
        log.error("Could not deliver an image.", exc_info=error, **lease.log_fields())
        try:
            with self._database.begin() as session:
                endings.fail(session, lease, f"delivery failed: {error}", is_retryable=True)
        except SQLAlchemyError as failure:
            log.warning("Could not record how an attempt ended.", error=str(failure.args[0]), **lease.log_fields())
        finally:
            self._holdings.drop([lease])
