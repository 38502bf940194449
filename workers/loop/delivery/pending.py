"""An image on its way: encoded and waiting for the store, then stored and waiting for Postgres."""

from dataclasses import dataclass
from pathlib import Path

from farm.queue.claimed import Lease
from farm.queue.results import Finished
from workers.loop.delivery.spoolfile import FinishedImage


@dataclass(frozen=True)
class PendingImage:
    """An encoded image that is not delivered: in the spool, or in memory where the disk had no room; never both."""

    lease: Lease
    location: Path | FinishedImage


@dataclass(frozen=True)
class UploadedImage:
    """An image whose objects are stored; nothing holds its contents any more."""

    pending: PendingImage
    finished: Finished

    @property
    def lease(self) -> Lease:
        return self.pending.lease
