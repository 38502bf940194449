"""What happens to rendered pixels while the device is busy with the next batch: encode, store, publish."""

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import BoundedSemaphore
from typing import Any

import numpy as np
import structlog
from sqlalchemy.exc import InterfaceError, InternalError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from farm import endings
from farm.database import Database
from farm.dispatch import ClaimedCheckpoint, Lease
from farm.endings import StoredObject
from farm.errors import LeaseLost, StoreError
from farm.infotext import infotext
from farm.store import Store
from workers.encode import Encoded, encode_png, encode_thumbnail
from workers.holdings import Holdings

log = structlog.get_logger(__name__)

_SHORTEST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 5.0

# What Postgres says while it is away, restarts or fails over. Anything else is a bug and will not pass.
_OUTAGES = (OperationalError, InterfaceError, InternalError, PoolTimeout)


@dataclass(frozen=True)
class Rendered:
    """One image as it left the device, and what is to be recorded with it."""

    lease: Lease
    checkpoint: ClaimedCheckpoint
    pixels: np.ndarray
    gpu_seconds: float
    timings: Mapping[str, float]
    provenance: Mapping[str, Any]


class Delivery:
    """Delivers images on threads. At `limit` images under way, `accept` waits: memory stays bounded."""

    def __init__(self, database: Database, store: Store, holdings: Holdings, *, threads: int, limit: int) -> None:
        self._database = database
        self._store = store
        self._holdings = holdings
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="delivery")
        self._room = BoundedSemaphore(limit)

    def accept(self, rendered: Rendered) -> None:
        """Take over an image; its lease is dropped when it is published, or found lost."""
        self._room.acquire()
        self._executor.submit(self._deliver, rendered).add_done_callback(lambda _: self._room.release())

    def close(self) -> None:
        """Wait until every image accepted has been delivered or lost."""
        self._executor.shutdown()

    def _deliver(self, rendered: Rendered) -> None:
        try:
            self._store_and_publish(rendered)
        except LeaseLost:
            log.info("Attempt ended: its lease was lost before it was stored.", **rendered.lease.log_fields())
        except Exception as error:
            # A bug here must not hold the lease for ever: the task is tried again, the trace is kept.
            log.exception("Could not deliver an image.", **rendered.lease.log_fields())
            self._give_up(rendered.lease, f"delivery failed: {error}")
        finally:
            self._holdings.drop([rendered.lease])

    def _store_and_publish(self, rendered: Rendered) -> None:
        started = time.monotonic()
        image = encode_png(rendered.pixels, infotext(rendered.lease.spec, rendered.checkpoint.sha256))
        thumbnail = encode_thumbnail(rendered.pixels)
        encoded = time.monotonic()
        stored_image = self._keep("result", rendered.lease, image)
        try:
            stored_thumbnail = self._keep("thumbnail", rendered.lease, thumbnail)
        except LeaseLost:
            self._discard(stored_image)
            raise
        timings = {**rendered.timings, "encode": encoded - started, "store": time.monotonic() - encoded}
        self._publish(rendered, stored_image, stored_thumbnail, timings=timings)

    def _keep(self, role: str, lease: Lease, file: Encoded) -> StoredObject:
        """Upload to a key that names task and attempt, again and again. Raises LeaseLost once the lease is."""
        key = f"{role}s/{lease.job_id}/{lease.task_id}-{lease.attempt}{file.suffix}"
        pause = _SHORTEST_PAUSE_SECONDS
        while self._holdings.holds(lease):
            try:
                self._store.put(key, file.content, file.media_type)
            except StoreError as error:
                log.warning("The store failed; trying again.", error=str(error), **lease.log_fields())
                time.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
            else:
                return StoredObject(
                    role, key, file.sha256, len(file.content), file.media_type, file.width, file.height
                )
        raise LeaseLost

    def _publish(
        self, rendered: Rendered, image: StoredObject, thumbnail: StoredObject, *, timings: Mapping[str, float]
    ) -> None:
        """Publish through outages of Postgres; throw the objects away if the lease is found lost."""
        lease = rendered.lease
        pause = _SHORTEST_PAUSE_SECONDS
        while True:
            try:
                with self._database.begin() as session:
                    is_published = endings.publish(
                        session,
                        lease,
                        image,
                        thumbnail,
                        provenance=rendered.provenance,
                        timings=timings,
                        gpu_seconds=rendered.gpu_seconds,
                    )
                break
            except _OUTAGES as error:
                log.warning("Postgres failed; publishing again.", error=str(error.args[0]), **lease.log_fields())
                time.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
        if is_published:
            log.info("Attempt ended: succeeded.", **lease.log_fields())
        else:
            log.info("Attempt ended: refused, another attempt owns the task.", **lease.log_fields())
            self._discard(image, thumbnail)

    def _discard(self, *objects: StoredObject) -> None:
        for stored in objects:
            try:
                self._store.delete(stored.key)
            except StoreError as error:
                log.warning("Could not delete an orphan.", key=stored.key, error=str(error))

    def _give_up(self, lease: Lease, error: str) -> None:
        try:
            with self._database.begin() as session:
                endings.fail(session, lease, error, is_retryable=True)
        except SQLAlchemyError as failure:
            log.warning("Could not say how an attempt ended.", error=str(failure.args[0]), **lease.log_fields())
