"""Of a plan is written what changed, and nothing else."""

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import event

from farm.dispatch.planned import Figures, Outlook, Plan, Share, WaitReason
from farm.dispatch.policy import Policy
from farm.dispatch.snapshot import Account, Seat, Snapshot, WorkClass
from farm.planner.ledger import Ledger
from farm.planner.measuring.learn import Learned
from farm.planner.outlooks import Board
from farm.planner.poolplanner import PoolPlanner
from farm.planner.reading.snapshots import Known
from farm.planner.turns import find_turns, write_turns
from farm.queue.counts import shares
from tests.factories import Scene
from tests.farm.planner.farms import HandMade


@pytest.fixture
def farm(scene: Scene) -> HandMade:
    return HandMade(scene)


class Planned:
    """Plans that a test wants, instead of those of a policy."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.seen: list[Snapshot] = []

    def __call__(self, snapshot: Snapshot, now: float) -> Plan:
        self.seen.append(snapshot)
        return self.plan


def written(scene: Scene, table: str) -> list[tuple[Any, ...]]:
    """The rows of a table with the transactions that wrote them."""
    with scene.database.begin() as session:
        rows = session.connection().exec_driver_sql(f"SELECT ctid::text, xmin::text, t.* FROM {table} t ORDER BY 3")
        return [tuple(row) for row in rows]


def a_planner(farm: HandMade, plan: Plan) -> PoolPlanner:
    return PoolPlanner("default", Ledger("default"), Policy(), Planned(plan))


def run(planner: PoolPlanner, farm: HandMade) -> int:
    return planner.plan(farm.scene.database, Known(Learned()))


def an_outlook(group: int, owner: int, low: float | None = 60.0, high: float | None = 120.0) -> Outlook:
    return Outlook(group, owner, None, WorkClass.BULK, WaitReason.BUSY, low, high, 0.5)


def test_a_seat_is_stored_and_taken_back(farm: HandMade) -> None:
    local, group, worker = farm.owner(), farm.group(farm.checkpoint()), farm.worker()
    seat = Seat(worker, group, local, 4, 9, "dry")
    planner = a_planner(farm, Plan(seats=(seat,)))
    run(planner, farm)
    run(planner, farm)
    assert planner.make_plan.seen[-1].devices[0].seat == seat  # type: ignore[attr-defined]
    planner.make_plan = Planned(Plan())
    run(planner, farm)
    assert farm.scene.column("SELECT worker_id FROM seats") == []


def test_nothing_is_written_again_that_did_not_change(farm: HandMade) -> None:
    local, group, worker = farm.owner(), farm.group(farm.checkpoint()), farm.worker()
    farm.line(group, local)
    plan = Plan(
        seats=(Seat(worker, group, local, 4),),
        outlooks=(an_outlook(group, local),),
        shares=(Share(local, None, 1, 2),),
    )
    planner = a_planner(farm, plan)

    def keep_books() -> None:
        planner.keep_books(farm.scene.database, Known(Learned()))

    run(planner, farm)
    keep_books()
    tables = ("seats", "outlooks", "shares", "groups")
    before = [written(farm.scene, table) for table in tables]
    assert all(before)
    run(planner, farm)
    keep_books()
    assert [written(farm.scene, table) for table in tables] == before


def test_a_plan_is_two_transactions(farm: HandMade) -> None:
    farm.line(farm.group(farm.checkpoint()), farm.owner())
    planner = a_planner(farm, Plan())
    run(planner, farm)
    begun: list[object] = []
    event.listen(farm.scene.database.engine, "begin", begun.append)
    run(planner, farm)
    assert len(begun) == 2


def test_the_heartbeat_of_a_pool_moves_with_each_plan(farm: HandMade) -> None:
    planner = a_planner(farm, Plan(figures=Figures(devices=3, is_saturated=True)))
    run(planner, farm)
    farm.scene.execute("UPDATE plans SET planned_at = now() - interval '1 minute'")
    run(planner, farm)
    assert farm.scene.scalar("SELECT now() - planned_at < interval '5 seconds' FROM plans")
    assert farm.scene.scalar("SELECT figures ->> 'devices' || (figures ->> 'is_saturated') FROM plans") == "3true"


def test_seats_of_workers_and_groups_that_are_gone_are_left_out(farm: HandMade) -> None:
    local, group, worker = farm.owner(), farm.group(farm.checkpoint()), farm.worker()
    plan = Plan(
        seats=(Seat(worker, group, local, 4), Seat(worker + 1, group, local, 4), Seat(worker, 99, local, 1))
    )
    run(a_planner(farm, replace(plan, seats=plan.seats[:2])), farm)
    assert farm.scene.column("SELECT worker_id FROM seats") == [worker]


def test_idle_workers_with_a_new_seat_are_counted(farm: HandMade) -> None:
    local, group = farm.owner(), farm.group(farm.checkpoint())
    idle, busy = farm.worker("cuda:0"), farm.worker("cuda:1", status="busy")
    job_id = farm.line(group, local, running=1)
    farm.scene.execute(
        "INSERT INTO tasks (job_id, seq, status, batch_key, spec, attempt_limit, attempt, worker_id, lease_until) "
        "VALUES (:job, 1, 'running', 'k', '{}', 3, 1, :worker, '9999-01-01Z')",
        job=job_id,
        worker=busy,
    )
    planner = a_planner(farm, Plan(seats=(Seat(idle, group, local, 4), Seat(busy, group, local, 4))))
    assert [run(planner, farm), run(planner, farm)] == [1, 0]


def test_an_outlook_is_written_again_once_its_moment_has_moved(farm: HandMade) -> None:
    local, group = farm.owner(), farm.group(farm.checkpoint())
    board = Board("default")

    def write(outlook: Outlook, now: float) -> int:
        with farm.scene.database.begin() as session:
            return board.write(session, [outlook], now)

    counts = [
        write(an_outlook(group, local), 1000.0),
        write(an_outlook(group, local, 50, 110), 1010.0),  # the same moment, nearer
        write(an_outlook(group, local, 58, 118), 1010.0),  # within what nobody notices
        write(an_outlook(group, local, 200, 400), 1010.0),
        write(an_outlook(group, local, None, None), 1010.0),
        write(replace(an_outlook(group, local, None, None), reason=WaitReason.COLD), 1010.0),
    ]
    assert counts == [1, 0, 0, 1, 1, 1]


def test_of_very_many_outlooks_those_are_written_too_that_start_late(farm: HandMade) -> None:
    """Though what starts soon is told anew in each round."""
    group, board = farm.group(farm.checkpoint()), Board("default")
    for number in range(4):
        outlooks = [an_outlook(group, owner, 10.0 + 20 * (number % 2), 900.0) for owner in range(2001)]
        with farm.scene.database.begin() as session:
            board.write(session, [*outlooks, an_outlook(group, 5000, 5000.0, 9000.0)], 1000.0)
    assert farm.scene.scalar("SELECT count(*) FROM outlooks WHERE owner_id = 5000") == 1
    assert farm.scene.scalar("SELECT count(*) FROM outlooks") == 2002


def test_the_outlook_of_what_waits_no_more_is_taken_away(farm: HandMade) -> None:
    local, group = farm.owner(), farm.group(farm.checkpoint())
    planner = a_planner(farm, Plan(outlooks=(an_outlook(group, local),)))
    run(planner, farm)
    again = a_planner(farm, Plan())
    run(again, farm)
    assert farm.scene.column("SELECT reason FROM outlooks") == []


def test_the_projects_of_an_owner_share_an_outlook(farm: HandMade) -> None:
    local, group = farm.owner(), farm.group(farm.checkpoint())
    later = replace(an_outlook(group, local, 90, 200), project=3)
    run(a_planner(farm, Plan(outlooks=(later, an_outlook(group, local)))), farm)
    assert farm.scene.column("SELECT images_per_second + starts_in_low FROM outlooks") == [
        pytest.approx(61, abs=0.1)
    ]


def test_lags_are_stored_and_found_by_the_next_leader(farm: HandMade) -> None:
    local = farm.owner()
    ledger = Ledger("default")
    with farm.scene.database.begin() as session:
        shares.charge(session, {shares.Account("default", local): 12.0})
    ledger.charge((local, None), 12.0)
    ledger.settle([Share(local, None, 2.5, -12.0)])
    with farm.scene.database.begin() as session:
        assert ledger.store(session) == 1
        assert ledger.store(session) == 0
        found = Ledger.load(session, "default").standings[local, None]
    assert (found.lag, found.rate, found.used_seconds) == (-12.0, 2.5, 12.0)


def test_two_leaders_for_a_while_take_nothing_from_each_other(farm: HandMade) -> None:
    local = farm.owner()
    first, second = Ledger("default"), Ledger("default")
    for ledger, lag in ((first, 100.0), (second, 50.0)):
        ledger.settle([Share(local, None, 1.0, lag)])
        with farm.scene.database.begin() as session:
            ledger.store(session)
            ledger.refresh(session)
    assert (farm.scene.column("SELECT lag FROM shares"), second.lag((local, None))) == ([150.0], 150.0)


def test_a_ledger_that_looks_again_keeps_what_is_not_stored(farm: HandMade) -> None:
    local = farm.owner()
    ledger = Ledger("default")
    ledger.settle([Share(local, None, 1.0, 20.0)])
    with farm.scene.database.begin() as session:
        shares.charge(session, {shares.Account("default", local): 5.0})
        ledger.refresh(session)
    assert (ledger.lag((local, None)), ledger.standings[local, None].rate) == (15.0, 1.0)


def many_owners(farm: HandMade) -> list[int]:
    """More than are written in one go."""
    farm.scene.execute("INSERT INTO users (name) SELECT 'owner-' || n FROM generate_series(1, 2000) n")
    return farm.scene.column("SELECT id FROM users ORDER BY id")


def test_of_very_many_lags_those_that_moved_most_are_stored_first(farm: HandMade) -> None:
    owners = many_owners(farm)
    ledger = Ledger("default")
    ledger.settle([Share(owner, None, 0.0, 1.0 + number) for number, owner in enumerate(owners)])
    with farm.scene.database.begin() as session:
        assert ledger.store(session) == 2000
    assert farm.scene.column("SELECT id FROM users WHERE id NOT IN (SELECT owner_id FROM shares)") == owners[:1]
    with farm.scene.database.begin() as session:
        assert ledger.store(session) == 1


def test_of_very_many_turns_those_that_moved_most_are_written_first(farm: HandMade) -> None:
    owners = many_owners(farm)
    farm.scene.execute("INSERT INTO queues (pool, priority, owner_id) SELECT 'default', 50, id FROM users")
    accounts = [Account(owner, lag=-6.0 - number) for number, owner in enumerate(owners)]
    with farm.scene.database.begin() as session:
        assert write_turns(session, "default", accounts) == 2000
    assert farm.scene.column("SELECT owner_id FROM queues WHERE turn = 0") == owners[:1]


def test_owners_take_turns_by_what_they_are_owed_for_their_weight() -> None:
    accounts = [Account(1, None, 1.0, lag=10), Account(2, None, 2.0, lag=30), Account(2, 7, 2.0, lag=-10)]
    assert find_turns(accounts) == {1: -10.0, 2: -10.0}


def test_turns_follow_what_is_owed(farm: HandMade) -> None:
    local, ana = farm.owner(), farm.owner("ana")
    for owner, turn in ((local, 0), (ana, 99)):
        farm.scene.execute(
            "INSERT INTO queues (pool, priority, owner_id, turn) VALUES ('default', 50, :owner, :turn)",
            owner=owner,
            turn=turn,
        )
    accounts = [Account(local, lag=-20.0), Account(ana, lag=-98.0)]
    with farm.scene.database.begin() as session:
        assert [write_turns(session, "default", accounts), write_turns(session, "default", accounts)] == [1, 0]
    assert farm.scene.column("SELECT turn FROM queues ORDER BY owner_id") == [20.0, 99.0]


def test_a_queue_that_somebody_holds_keeps_its_turn(farm: HandMade) -> None:
    local = farm.owner()
    farm.scene.execute("INSERT INTO queues (pool, priority, owner_id) VALUES ('default', 50, :id)", id=local)
    with farm.scene.database.engine.begin() as other, farm.scene.database.begin() as session:
        other.exec_driver_sql("SELECT FROM queues FOR UPDATE")
        write_turns(session, "default", [Account(local, lag=-20.0)])
    assert farm.scene.column("SELECT turn FROM queues") == [0.0]
