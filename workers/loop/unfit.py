"""What a child does whose device cannot render: it takes no task, reports why, and tries again in a new process."""

import os
import sys
import time
from collections.abc import Sequence
from typing import NoReturn

import structlog
from sqlalchemy.exc import SQLAlchemyError

from farm.config import Settings
from farm.db.connection import Database, Role
from farm.queue.workers import fleet

log = structlog.get_logger(__name__)

_SHORTEST_PAUSE_SECONDS = 10.0
_LONGEST_PAUSE_SECONDS = 600.0


def sit_out(settings: Settings, worker_id: int, trouble: str, arguments: Sequence[str], tries: int) -> NoReturn:
    """Show the trouble where people look for workers, wait, and begin again as a fresh process with `arguments`.

    CUDA that failed once in a process fails in it for good. The process stays the parent's child, and the worker
    the same row: one that died instead would leave a row behind with each try. `tries` were in vain before.
    """
    pause = pause_seconds(tries)
    log.error("The device cannot render; no task is taken.", worker=worker_id, trouble=trouble, retry_seconds=pause)
    database = Database.of(settings, Role.WORKER)
    ends = time.monotonic() + pause
    while (left := ends - time.monotonic()) > 0:
        _report(database, worker_id, trouble)
        time.sleep(min(left, settings.heartbeat_seconds))
    database.close()
    os.execv(sys.executable, [sys.executable, *arguments])


def pause_seconds(tries: int) -> float:
    """Doubling, so that a device that waits to be mended does not keep a processor busy."""
    # The power is bounded too: a device that is broken for months must not overflow it.
    return min(_LONGEST_PAUSE_SECONDS, _SHORTEST_PAUSE_SECONDS * 2.0 ** min(tries, 10))


def _report(database: Database, worker_id: int, trouble: str) -> None:
    try:
        with database.begin() as session:
            fleet.beat(session, worker_id, "starting", None, trouble=trouble)
    except SQLAlchemyError as error:
        log.warning("Could not report what is wrong with the device.", worker=worker_id, error=str(error.args[0]))
