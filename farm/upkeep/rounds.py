"""Rounds of housekeeping: a loop that can be stopped, steps that fail by themselves, work for one process alone."""

import threading
from collections.abc import Callable

import structlog
from sqlalchemy.exc import SQLAlchemyError

from farm.db.connection import Database, is_lost_connection
from farm.db.locks import Lock
from farm.errors import StoreError

log = structlog.get_logger(__name__)

Step = Callable[[], object]

_FAILED = "A step of the round failed; the next round tries again."


class Rounds:
    """Calls `make_round` every so many seconds, until stopped. The first round comes after the first pause."""

    def __init__(self, make_round: Step, *, seconds: float) -> None:
        self._make_round = make_round
        self._seconds = seconds
        self._stopped = threading.Event()

    @property
    def is_stopped(self) -> bool:
        return self._stopped.is_set()

    def run(self) -> None:
        """Make rounds until `stop`, which lets a round that is being made come to its end."""
        while not self._stopped.wait(self._seconds):
            self._make_round()

    def stop(self) -> None:
        self._stopped.set()


def attempt(step: Step, name: str) -> bool:
    """Make a step; whether Postgres was away. What Postgres or the store refuses is logged by name, not raised."""
    try:
        step()
    except (SQLAlchemyError, StoreError) as error:
        log.warning(_FAILED, step=name, error=str(error.args[0]))
        return isinstance(error, SQLAlchemyError) and is_lost_connection(error)
    return False


def attempt_in_spite_of_bugs(step: Step, name: str) -> bool:
    """As `attempt`, for steps on which the whole farm depends: nothing that one raises ends the rounds."""
    try:
        return attempt(step, name)
    except Exception:  # a bug in one step must not stop the leases of the whole farm from ending
        log.exception(_FAILED, step=name)
        return False


def run_alone(database: Database, lock: Lock, step: Step) -> None:
    """Make a step while this process holds the lock; do nothing while another one holds it."""
    with database.alone(lock) as is_alone:
        if is_alone:
            step()
