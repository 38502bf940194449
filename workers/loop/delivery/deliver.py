"""What happens to rendered pixels while the device is busy with the next batch: encode, spool, store, publish."""

import threading
import time
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import BoundedSemaphore

import structlog
from sqlalchemy.exc import SQLAlchemyError

from farm.crashpoints import reach
from farm.db.connection import Database
from farm.errors import LeaseLost
from farm.queue import endings
from farm.queue.claimed import Lease
from farm.store.protocol import Store
from workers.loop.delivery import adoption
from workers.loop.delivery.pending import PendingImage
from workers.loop.delivery.publish import Publisher
from workers.loop.delivery.rendered import RenderedImage, encode_rendered
from workers.loop.delivery.spool import Spool
from workers.loop.delivery.spoolfile import FinishedImage
from workers.loop.delivery.upload import Uploads
from workers.loop.holdings import Holdings

log = structlog.get_logger(__name__)


class Delivery:
    """Delivers images on threads of its own.

    1. Encode, and write into the spool: from here on the image outlives this process.
       Only its path is handed on: what waits takes disk, not memory.
    2. Upload, on a few threads that need no Postgres.
    3. Publish, on one thread: what was rendered together in one transaction.

    In an outage 2 and 3 are tried again and again, with pauses, while the lease stands.

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
        self._in_memory: set[Lease] = set()
        self._counting = threading.Lock()
        self._undelivered = 0
        self._ending = threading.Event()
        self._publisher = Publisher(
            database,
            holdings,
            self._ending,
            are_more_coming=self._are_more_coming,
            on_published=self._forget,
            on_refused=lambda refused: self._uploads.discard(refused),
            on_failed=self._end,
        )
        self._uploads = Uploads(
            store,
            holdings,
            self._ending,
            threads=threads,
            on_uploaded=self._publisher.put,
            on_failed=self._end,
        )

    @property
    def is_full(self) -> bool:
        return self._spool.is_full or bool(self._in_memory)

    @property
    def is_held_up(self) -> bool:
        """Whether the last try to deliver met a store or a Postgres that did not take it."""
        return self._uploads.is_held_up or self._publisher.is_held_up

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
        with self._holdings.adopting():
            adopted = adoption.adopt(self._database, self._spool, self._lease_seconds)
            self._holdings.take(lease for lease, _ in adopted.taken)
            self._holdings.note_left(adopted.left)
        for lease, path in adopted.taken:
            self._deliver(PendingImage(lease, path))

    def close(self, seconds: float) -> bool:
        """Wait so long for what was accepted to be delivered; say whether all was. The rest stays in the spool."""
        self._encoders.shutdown()
        deadline = time.monotonic() + seconds
        while self._is_anything_open and time.monotonic() < deadline:
            time.sleep(0.01)
        is_done = not self._is_anything_open
        self._ending.set()
        self._uploads.stop()
        self._publisher.stop()
        return is_done

    @property
    def _is_anything_open(self) -> bool:
        """Whether an image waits, or the objects of one that was refused."""
        return bool(self._undelivered or self._uploads.is_busy)

    def _are_more_coming(self) -> bool:
        return bool(self._encoding) or self._uploads.is_busy

    def _deliver(self, image: PendingImage) -> None:
        with self._counting:
            self._undelivered += 1
        self._uploads.put(image)

    def _encode(self, rendered: RenderedImage) -> None:
        try:
            self._deliver(self._write_to_spool(encode_rendered(rendered)))
        except Exception as error:
            self._give_up(rendered.lease, error)
        finally:
            self._spool.give_up(rendered.lease)

    def _write_to_spool(self, finished: FinishedImage) -> PendingImage:
        reach("worker.encoded")
        try:
            path = self._spool.put(finished)
        except OSError as error:
            log.warning("The spool has no room; an image waits in memory.", error=error.strerror)
            self._in_memory.add(finished.lease)
            return PendingImage(finished.lease, finished)
        reach("worker.spooled")
        return PendingImage(finished.lease, path)

    def _end(self, image: PendingImage, error: Exception) -> None:
        """An image will never be delivered."""
        if isinstance(error, LeaseLost):
            log.info("Attempt ended: its lease was lost before it was published.", **image.lease.log_fields())
        else:
            self._give_up(image.lease, error)
        self._forget(image)

    def _forget(self, image: PendingImage) -> None:
        """The lease first: a disk that fails must neither keep it renewed nor end this thread."""
        self._holdings.drop([image.lease])
        self._in_memory.discard(image.lease)
        if isinstance(image.location, Path):
            try:
                self._spool.drop(image.location)
            except OSError as error:
                log.warning("Could not delete from the spool.", error=str(error), **image.lease.log_fields())
        with self._counting:
            self._undelivered -= 1

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
