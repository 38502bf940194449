"""Rounds go on until they are stopped, steps fail by themselves, and one process alone makes some of them."""

import threading

import pytest
import structlog.testing
from sqlalchemy.exc import ProgrammingError

from farm.db.connection import Database, Role
from farm.db.locks import Lock
from farm.errors import StoreOutage
from farm.upkeep.rounds import Rounds, attempt, attempt_in_spite_of_bugs, run_alone
from tests.factories import Scene
from tests.waiting import wait_until


def test_rounds_are_made_until_they_are_stopped() -> None:
    made: list[int] = []
    rounds = Rounds(lambda: made.append(1), seconds=0.01)
    thread = threading.Thread(target=rounds.run)
    thread.start()
    wait_until(lambda: len(made) > 2, seconds=10)
    rounds.stop()
    thread.join(10)
    assert (thread.is_alive(), rounds.is_stopped) == (False, True)


def test_a_database_that_is_away_is_reported_as_away() -> None:
    away = Database("postgresql://farm@127.0.0.1:1/farm", Role.KEEPER)
    assert attempt(away.check, "look")


def test_a_statement_or_store_that_fails_is_no_outage_of_the_database() -> None:
    def fail_in_postgres() -> None:
        raise ProgrammingError("SELECT 1", {}, Exception())

    def fail_in_the_store() -> None:
        raise StoreOutage("Could not list the store.")

    assert not attempt(fail_in_the_store, "sweep")
    assert not attempt(fail_in_postgres, "prune")


def test_a_step_that_fails_is_logged_by_its_name() -> None:
    def fail() -> None:
        raise StoreOutage("Could not list the store.")

    with structlog.testing.capture_logs() as logs:
        attempt(fail, "sweep the store")
    assert [(entry["step"], entry["error"]) for entry in logs] == [("sweep the store", "Could not list the store.")]


def test_a_bug_ends_a_step_but_not_the_rounds() -> None:
    def fail() -> None:
        raise ZeroDivisionError

    assert not attempt_in_spite_of_bugs(fail, "ring")
    with pytest.raises(ZeroDivisionError):
        attempt(fail, "ring")


def test_a_step_for_one_process_alone_is_not_made_by_another_meanwhile(scene: Scene) -> None:
    made: list[str] = []
    with scene.database.alone(Lock.SWEEP):
        run_alone(scene.database, Lock.SWEEP, lambda: made.append("meanwhile"))
    run_alone(scene.database, Lock.SWEEP, lambda: made.append("later"))
    assert made == ["later"]
