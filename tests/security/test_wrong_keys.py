"""Keys that are tried: seen in the log, slowed down, and never in the way of a valid one."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from farm import accounts
from farm.config import Settings
from farm.db.connection import Database
from tests.costs import Meter
from tests.portals import RunningPortal, run_portal
from web.guard.refusals import Refusals

WRONG = "farm_0123abcd_" + "x" * 43


@pytest.fixture
def key(database: Database) -> str:
    with database.begin() as session:
        return accounts.add_user(session, "mia")


@pytest.fixture
def portal(settings: Settings, key: str) -> Iterator[RunningPortal]:
    """A portal that asks for keys, with few threads."""
    with run_portal(settings, FARM_HOST="0.0.0.0", FARM_WEB_THREADS="2", FARM_LOG_FORMAT="json") as portal:
        yield portal


def ask(portal: RunningPortal, key: str) -> httpx.Response:
    return httpx.get(f"{portal.url}/api/v1/jobs", headers={"Authorization": f"Bearer {key}"}, timeout=20)


def test_a_refused_key_is_logged_by_its_prefix_alone(portal: RunningPortal) -> None:
    ask(portal, WRONG)
    ask(portal, b"hunter2\x1b[2J".decode("latin-1").replace("\x1b", ""))
    lines = [json.loads(line) for line in portal.stop().splitlines()]
    refused = [line for line in lines if line["event"] == "An API key that is not valid was refused."]
    assert [(line["address"], line["key"]) for line in refused] == [
        ("127.0.0.1", "farm_0123abcd_..."),
        ("127.0.0.1", "not one of a farm"),
    ]
    assert "xxxx" not in str(lines)
    assert "hunter2" not in str(lines)


def test_many_wrong_keys_are_slowed_down_and_a_valid_one_is_not(
    portal: RunningPortal, key: str, costs: Meter
) -> None:
    with costs.at_most(seconds=10, mebibytes=64, process=portal.process.pid):
        statuses = [ask(portal, WRONG).status_code for _ in range(11)]
        assert statuses == [401] * 10 + [429]
        with ThreadPoolExecutor(40) as clients:
            attack = [clients.submit(ask, portal, WRONG) for _ in range(40)]
            begun = time.monotonic()
            assert ask(portal, key).status_code == 200
            assert time.monotonic() - begun < 2
            assert {answer.result().status_code for answer in attack} == {429}
    assert 1 <= int(attack[0].result().headers["Retry-After"]) <= 60


def test_a_flood_of_wrong_keys_does_not_flood_the_log(portal: RunningPortal) -> None:
    for _ in range(13):
        ask(portal, WRONG)
    lines = portal.stop().splitlines()
    assert sum("was refused" in line for line in lines) == 10
    assert "not logged for a minute" in lines[-1]


def test_an_address_may_try_keys_again_after_a_minute() -> None:
    refusals = Refusals()
    waits = [refusals.count("203.0.113.5", second).wait_seconds for second in range(12)]
    assert waits == [None] * 10 + [51, 50]
    assert refusals.count("203.0.113.6", 12).wait_seconds is None
    assert refusals.count("203.0.113.5", 61).wait_seconds is None


def test_any_number_of_addresses_takes_bounded_memory() -> None:
    refusals = Refusals()
    for number in range(20_000):
        refusals.count(f"address {number}", 0)
    assert len(refusals._tries) == 10_000
