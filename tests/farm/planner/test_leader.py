"""One keeper leads; when it ends or loses its connection, another one does."""

from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
import structlog.testing
from sqlalchemy.exc import SQLAlchemyError

from farm.db.connection import Database, Role
from farm.db.locks import Lock
from farm.dispatch.planned import Plan, Share
from farm.dispatch.snapshot import Seat, Snapshot
from farm.planner.leader import Leader
from farm.planner.measuring import actuals
from farm.planner.poolplanner import MakePlan
from farm.queue.counts import deltas
from tests.factories import Scene
from tests.farm.planner.farms import HandMade
from tests.waiting import wait_until

_END_THE_LEADERS_SESSION = f"""
    SELECT pg_terminate_backend(pid) FROM pg_locks
    WHERE locktype = 'advisory' AND classid = 0 AND objid = {Lock.PLAN.value} AND granted
"""


@pytest.fixture
def farm(scene: Scene) -> HandMade:
    return HandMade(scene)


@pytest.fixture
def keeper(scene: Scene) -> Iterator[Callable[..., Leader]]:
    """A keeper's leader, with connections of its own."""
    leaders: list[tuple[Leader, Database]] = []

    def make(make_plan: MakePlan = lambda snapshot, now: Plan()) -> Leader:
        database = Database(scene.database.url, Role.KEEPER)
        leaders.append((Leader(scene.settings, database, scene.doorbell, make_plan), database))
        return leaders[-1][0]

    yield make
    for leader, database in leaders:
        with closing(database):
            leader.stop()


def make_round(leader: Leader) -> None:
    leader.lead()
    for step in leader.steps().values():
        step()


def test_of_two_keepers_one_leads(keeper: Callable[..., Leader]) -> None:
    first, second = keeper(), keeper()
    for leader in (first, second, first):
        make_round(leader)
    assert (first.is_leading, second.is_leading, list(second.steps())) == (True, False, [])


def test_a_keeper_that_stops_lets_another_one_lead(keeper: Callable[..., Leader]) -> None:
    first, second = keeper(), keeper()
    make_round(first)
    first.stop()
    make_round(second)
    assert (first.is_leading, second.is_leading) == (False, True)


def test_a_leader_that_loses_its_connection_leads_no_more(scene: Scene, keeper: Callable[..., Leader]) -> None:
    first, second = keeper(), keeper()
    make_round(first)
    scene.scalar(_END_THE_LEADERS_SESSION)

    def take_over() -> bool:
        make_round(second)
        return second.is_leading

    wait_until(take_over, seconds=5)
    with pytest.raises(SQLAlchemyError):
        first.lead()
    assert not first.is_leading
    make_round(first)
    assert not first.is_leading


def test_the_session_of_a_frozen_leader_ends_by_itself(scene: Scene, keeper: Callable[..., Leader]) -> None:
    leader = keeper()
    with scene.database.engine.connect() as connection:
        before = connection.exec_driver_sql("SHOW idle_session_timeout").scalar_one()
    make_round(leader)
    assert leader._leadership._connection is not None
    found = leader._leadership._connection.exec_driver_sql("SHOW idle_session_timeout").scalar_one()
    assert (before, found) == ("0", "30s")


def test_to_begin_and_to_end_to_lead_is_logged_once(keeper: Callable[..., Leader]) -> None:
    leader = keeper()
    with structlog.testing.capture_logs() as logs:
        make_round(leader)
        make_round(leader)
        leader.stop()
    assert [entry["event"].partition(":")[0] for entry in logs] == [
        "This keeper leads",
        "This keeper leads no more",
    ]


def test_a_leader_plans_every_pool(farm: HandMade, keeper: Callable[..., Leader]) -> None:
    for pool in ("default", "night"):
        farm.worker(pool=pool)
    make_round(keeper())
    assert farm.scene.column("SELECT pool FROM plans ORDER BY pool") == ["default", "night"]


def test_a_pool_without_a_worker_takes_no_time_of_the_leader(farm: HandMade, keeper: Callable[..., Leader]) -> None:
    leader, local, checkpoint = keeper(), farm.owner(), farm.checkpoint()
    for pool in ("made", "up"):
        farm.line(farm.group(checkpoint, pool=pool), local, pool=pool)
    farm.worker(pool="up")
    make_round(leader)
    assert farm.scene.column("SELECT pool FROM plans") == ["up"]


def test_a_pool_whose_last_worker_left_is_planned_no_more(farm: HandMade, keeper: Callable[..., Leader]) -> None:
    local, worker_id, leader = farm.owner(), farm.worker(), keeper()
    make_round(leader)
    assert leader._state is not None
    leader._state.pools["default"].ledger.settle([Share(local, None, 1.0, 7.0)])
    farm.scene.execute("UPDATE workers SET status = 'offline'")
    make_round(leader)
    assert list(leader.steps()) == ["fold"]
    assert farm.scene.column("SELECT lag FROM shares") == [7.0]
    farm.scene.execute("UPDATE workers SET status = 'idle' WHERE id = :id", id=worker_id)
    make_round(leader)
    assert leader._state.pools["default"].ledger.lag((local, None)) == 7.0


def test_one_pool_that_cannot_be_planned_holds_up_no_other(farm: HandMade, keeper: Callable[..., Leader]) -> None:
    def fail_by_day(snapshot: Snapshot, now: float) -> Plan:
        if snapshot.pool == "default":
            raise ZeroDivisionError
        return Plan()

    for pool in ("default", "night"):
        farm.worker(pool=pool)
    leader = keeper(fail_by_day)
    leader.lead()
    steps = leader.steps()
    with pytest.raises(ZeroDivisionError):
        steps["plan default"]()
    steps["plan night"]()
    assert farm.scene.column("SELECT pool FROM plans") == ["night"]


def test_an_idle_worker_with_a_new_seat_is_rung(farm: HandMade, keeper: Callable[..., Leader]) -> None:
    local, group, worker = farm.owner(), farm.group(farm.checkpoint()), farm.worker()
    rung: list[tuple[str, int]] = []
    leader = keeper(lambda snapshot, now: Plan(seats=(Seat(worker, group, local, 4),)))
    leader._doorbell.ring_workers = lambda pool, times: rung.append((pool, times))  # type: ignore[method-assign]
    make_round(leader)
    make_round(leader)
    assert rung == [("default", 1)]


def test_a_plan_that_takes_too_long_is_reported(farm: HandMade, keeper: Callable[..., Leader]) -> None:
    farm.worker()
    leader = keeper()
    leader._policy = leader._policy.__class__(period_seconds=-1.0)
    with structlog.testing.capture_logs() as logs:
        make_round(leader)
    assert "A plan took longer than the time between plans." in [entry["event"] for entry in logs]


def test_what_a_leader_was_charged_outlives_it(farm: HandMade, keeper: Callable[..., Leader]) -> None:
    local = farm.owner()
    farm.worker()
    first, second = keeper(), keeper()
    make_round(first)
    assert first._state is not None
    farm.line(farm.group(farm.checkpoint()), local)
    farm.scene.execute(
        "INSERT INTO deltas (job_id, batch_key, charged_seconds) SELECT job_id, batch_key, 7 FROM counters"
    )
    first.steps()["fold"]()
    first.stop()
    make_round(second)
    assert second._state is not None
    assert second._state.pools["default"].ledger.lag((local, None)) == -7.0


def test_a_leader_that_can_load_nothing_folds_still(
    farm: HandMade, keeper: Callable[..., Leader], monkeypatch: pytest.MonkeyPatch
) -> None:
    farm.line(farm.group(farm.checkpoint()), farm.owner())
    farm.scene.execute(
        "INSERT INTO deltas (job_id, batch_key, charged_seconds) SELECT job_id, batch_key, 7 FROM counters"
    )
    monkeypatch.setattr(actuals, "last_noted_end", lambda session: 1 / 0)
    leader = keeper()
    with pytest.raises(ZeroDivisionError):
        leader.lead()
    assert list(leader.steps()) == ["fold"]
    leader.steps()["fold"]()
    assert farm.scene.column("SELECT used_seconds FROM shares") == [7.0]


def test_a_leader_asks_between_two_folds_whether_it_still_leads(
    farm: HandMade, keeper: Callable[..., Leader], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deltas, "MOST_DELTAS", 1)
    farm.line(farm.group(farm.checkpoint()), farm.owner())
    farm.scene.execute(
        "INSERT INTO deltas (job_id, batch_key, charged_seconds) "
        "SELECT job_id, batch_key, 7 FROM counters, generate_series(1, 3)"
    )
    leader = keeper()
    leader.lead()
    farm.scene.scalar(_END_THE_LEADERS_SESSION)
    with pytest.raises(SQLAlchemyError):
        leader.steps()["fold"]()
    assert (leader.is_leading, farm.scene.scalar("SELECT count(*) FROM deltas")) == (False, 2)


def test_a_failed_write_is_made_good_by_the_next_round(farm: HandMade, keeper: Callable[..., Leader]) -> None:
    local, group, worker = farm.owner(), farm.group(farm.checkpoint()), farm.worker()
    leader = keeper(lambda snapshot, now: Plan(seats=(Seat(worker, group, local, 4),)))
    farm.scene.execute("ALTER TABLE plans ADD CONSTRAINT no_plan CHECK (false) NOT VALID")
    try:
        leader.lead()
        with pytest.raises(SQLAlchemyError):
            leader.steps()["plan default"]()
    finally:
        farm.scene.execute("ALTER TABLE plans DROP CONSTRAINT no_plan")
    make_round(leader)
    assert farm.scene.column("SELECT worker_id FROM seats") == [worker]
