"""Takes over the rendered images of workers of this machine that are gone."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog
from sqlalchemy.exc import SQLAlchemyError

from farm.db.connection import Database
from farm.queue import leases
from farm.queue.claimed import AttemptKey, Lease
from workers.loop.delivery import spoolfile
from workers.loop.delivery.spool import Spool
from workers.loop.delivery.spoolfile import DamagedFile

log = structlog.get_logger(__name__)


@dataclass
class Adopted:
    """Whose images were taken over, and where they lie now.

    `left` are those that may be this worker's by the record, while their images wait where they lay for another
    call. None: nobody could look.
    """

    taken: list[tuple[Lease, Path]] = field(default_factory=list)
    left: set[AttemptKey] | None = None


def adopt(database: Database, spool: Spool, lease_seconds: float) -> Adopted:
    """Make what lies abandoned ours.

    1. Take over the attempts: from then on the database names this worker. A parent that finds out only now that
       the other one is dead does not give these tasks back.
    2. Move the images here. Those whose lease was lost are dropped.

    While Postgres is away, or the disk fails, they wait where they lie, for a later call or for another worker.
    """
    adopted = Adopted()
    try:
        _adopt(database, spool, lease_seconds, adopted)
    except OSError as error:
        log.warning("Could not look for images of workers that are gone.", error=str(error))
    return adopted


def _adopt(database: Database, spool: Spool, lease_seconds: float, adopted: Adopted) -> None:
    with spool.take_abandoned() as paths:
        found = dict(_read_leases(spool, paths))
        # Whatever comes of the transaction: the answer to its COMMIT may be lost.
        adopted.left = {lease.key for lease in found.values()}
        kept = _take_over(database, spool.worker_id, list(found.values()), lease_seconds) if found else set()
        if kept is None:
            return
        adopted.left = {lease.key for lease in kept}
        for path, lease in found.items():
            if lease in kept:
                _move(spool, lease, path, adopted)
            else:
                log.info("Dropped an image of a worker that is gone: its lease was lost.", **lease.log_fields())
                spool.drop(path)


def _read_leases(spool: Spool, paths: Iterable[Path]) -> Iterator[tuple[Path, Lease]]:
    for path in paths:
        try:
            yield path, spoolfile.read_lease(path)
        except DamagedFile as error:
            log.warning("An image in the spool is lost.", error=str(error))
            spool.drop(path)


def _take_over(
    database: Database, worker_id: int, found: Sequence[Lease], lease_seconds: float
) -> set[Lease] | None:
    """Those that still stand, which this worker holds from now on; None where Postgres gave no answer."""
    try:
        with database.begin() as session:
            return leases.adopt(session, worker_id, found, lease_seconds)
    except SQLAlchemyError as error:
        log.warning("Could not take over images yet.", images=len(found), error=str(error.args[0]))
        return None


def _move(spool: Spool, lease: Lease, path: Path, adopted: Adopted) -> None:
    try:
        moved = spool.adopt(path)
    except OSError as error:
        log.warning("Could not take over an image.", error=str(error), **lease.log_fields())
        return
    adopted.taken.append((lease, moved))
    if adopted.left:
        adopted.left.discard(lease.key)
    log.info("Took over an image of a worker that is gone.", **lease.log_fields())
