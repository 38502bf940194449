"""The fair share of owners, whatever time and large numbers do to it."""

from datetime import timedelta

import pytest
from sqlalchemy import text

from farm.queue.counts import shares
from farm.queue.counts.shares import DECAYED, Account
from tests.factories import Scene, a_user

AGES = [
    *(timedelta(0), timedelta(hours=1), timedelta(hours=23.99), timedelta(hours=24.01)),
    *(timedelta(days=31), timedelta(days=366), timedelta(days=36500), timedelta(hours=-1), timedelta(days=-366)),
]


def age(scene: Scene, owner: str, gpu_seconds: float, idle: timedelta) -> None:
    with scene.database.begin() as session:
        session.execute(
            text("UPDATE users SET gpu_seconds = :used, gpu_seconds_at = now() - :idle WHERE name = :owner"),
            {"used": gpu_seconds, "idle": idle, "owner": owner},
        )


def share(scene: Scene, owner: str) -> float:
    return float(scene.scalar(f"SELECT {DECAYED} FROM users u WHERE name = :owner", owner=owner))


@pytest.mark.parametrize("idle", AGES, ids=str)
@pytest.mark.parametrize("used", [0.0, 1e-300, 1e-3, 0.5, 1e9, 1e300])
def test_the_past_usage_of_an_owner_never_stops_a_claim_or_a_publish(
    scene: Scene, used: float, idle: timedelta
) -> None:
    a_user(scene.database, "ana")
    job_ids = [scene.submit(owner=owner) for owner in ("ana", "local")]
    age(scene, "ana", used, idle)
    worker_id = scene.worker()
    leases = [*scene.claim(worker_id, limit=1), *scene.claim(worker_id, limit=1)]
    assert sorted(lease.job_id for lease in leases) == job_ids
    assert all(scene.publish(lease) for lease in leases)
    scene.fold()
    assert 0.49 < share(scene, "ana") <= used + 0.51


def test_a_share_fades_to_nothing_in_a_day(scene: Scene) -> None:
    shares_left = []
    for hours in (0, 1, 2, 12, 23, 25, 1000):
        age(scene, "local", 1000.0, timedelta(hours=hours))
        shares_left.append(share(scene, "local"))
    assert shares_left == sorted(shares_left, reverse=True)
    assert shares_left[1] == pytest.approx(368, abs=1)
    assert shares_left[-1] == 0


def test_a_charge_of_nothing_changes_nothing(scene: Scene) -> None:
    a_user(scene.database, "ana")
    owner_id = scene.scalar("SELECT id FROM users WHERE name = 'ana'")
    for _ in range(50):
        age(scene, "ana", share(scene, "ana"), timedelta(hours=20))
        with scene.database.begin() as session:
            shares.charge(session, {Account("default", owner_id): 0.0})
    assert share(scene, "ana") == 0


def test_a_share_is_never_negative(scene: Scene) -> None:
    """More is given back than what was charged: its charge has faded, or the release before has charged less."""
    a_user(scene.database, "ana", gpu_seconds=5)
    owner_id = scene.scalar("SELECT id FROM users WHERE name = 'ana'")
    with scene.database.begin() as session:
        shares.charge(session, {Account("default", owner_id): -1000.0})
    assert share(scene, "ana") == 0


def test_owners_are_charged_together(scene: Scene) -> None:
    a_user(scene.database, "ana")
    a_user(scene.database, "ben", gpu_seconds=1)
    ids = scene.column("SELECT id FROM users WHERE name IN ('ana', 'ben') ORDER BY name")
    with scene.database.begin() as session:
        charges = {
            Account("default", id_): seconds for id_, seconds in ((ids[1], 2.0), (ids[0], 1.0), (10**9, 5.0))
        }
        shares.charge(session, charges)
    assert [share(scene, name) for name in ("ana", "ben")] == pytest.approx([1, 3], abs=0.01)


def test_what_an_account_is_charged_adds_to_what_stands_there(scene: Scene) -> None:
    owner_id = scene.scalar("SELECT id FROM users WHERE name = 'local'")
    scene.execute(
        "INSERT INTO shares (pool, owner_id, lag, rate, used_seconds) VALUES ('default', :id, 7, 1.5, 3)",
        id=owner_id,
    )
    with scene.database.begin() as session:
        shares.charge(session, {Account("default", owner_id): 2.0, Account("night", owner_id, 4): -1.0})
        shares.charge(session, {Account("default", owner_id): 1.0})
    stood = "SELECT concat_ws(' ', pool, project_id, lag, rate, used_seconds) FROM shares ORDER BY pool"
    assert scene.column(stood) == ["default 0 4 1.5 6", "night 4 1 0 -1"]
