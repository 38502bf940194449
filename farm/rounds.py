"""Rounds of housekeeping: a loop that can be stopped, steps that fail by themselves, and work for one process alone."""

import threading
from collections.abc import Callable, Iterable

import structlog
from sqlalchemy.exc import SQLAlchemyError

from farm.database import Database, is_lost_connection
from farm.errors import StoreError
from farm.lockregister import Lock

log = structlog.get_logger(__name__)

Step = Callable[[], object]


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


def attempt_each(steps: Iterable[Step]) -> bool:
    """Make each step, whether or not others fail; whether Postgres was away for all of them."""
    return all([attempt(step) for step in steps])


def attempt(step: Step, **fields: object) -> bool:
    """Make a step, and log how it failed with these fields; whether it failed because Postgres was away.

    Nothing is raised: an outage passes, and the next round tries again.
    """
    try:
        step()
    except (SQLAlchemyError, StoreError) as error:
        log.warning("A step of the round failed; the next round tries again.", error=str(error.args[0]), **fields)
        return isinstance(error, SQLAlchemyError) and is_lost_connection(error)
    except Exception:  # a bug in one step must not keep all others from being made, in this round and the next
        log.exception("A step of the round failed; the next round tries again.", **fields)
    return False


def run_alone(database: Database, lock: Lock, step: Step) -> None:
    """Make a step while this process holds the lock; pass by where another one holds it."""
    with database.alone(lock) as is_alone:
        if is_alone:
            step()
