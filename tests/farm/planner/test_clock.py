"""Postgres' clock is set, ahead or back, between two plans."""

import pytest

from farm.dispatch.planned import Plan
from farm.dispatch.policy import Policy
from farm.dispatch.snapshot import Carried, Snapshot
from farm.planner.ledger import Ledger
from farm.planner.measuring import actuals
from farm.planner.measuring.learn import Learned
from farm.planner.poolplanner import PoolPlanner
from farm.planner.reading.devices import Batches, Running, Serving
from farm.planner.reading.snapshots import Known
from tests.clocks import SetClock
from tests.factories import Scene

HOUR = 3600.0


@pytest.mark.parametrize("step", [HOUR, -HOUR])
def test_what_a_plan_left_for_the_next_is_set_with_the_clock(scene: Scene, clock: SetClock, step: float) -> None:
    looks: list[tuple[Snapshot, float]] = []

    def make_plan(snapshot: Snapshot, now: float) -> Plan:
        looks.append((snapshot, now))
        left = Carried(now, {1: now + 50}, {2: now - 300}, {(2, 3, None): now - 900}, load_seconds=7.0)
        return Plan(carried=left)

    planner = PoolPlanner("default", Ledger("default"), Policy(), make_plan)
    with clock.database() as database:
        planner.plan(database, Known(Learned()))
        clock.set_ahead(step)
        planner.plan(database, Known(Learned()))
    [_, (snapshot, now)] = looks
    carried = snapshot.carried
    assert carried.planned_at == pytest.approx(now, abs=HOUR / 2)
    assert carried.stays_until[1] == pytest.approx(now + 50, abs=HOUR / 2)
    assert carried.unseated_since[2] == pytest.approx(now - 300, abs=HOUR / 2)
    assert carried.served_at[2, 3, None] == pytest.approx(now - 900, abs=HOUR / 2)
    assert carried.load_seconds == 7.0


def test_what_no_plan_left_is_not_set() -> None:
    assert Carried().after(HOUR) == Carried()


def test_no_batch_began_later_than_now() -> None:
    """The clock was set back since it was seen to begin."""
    batches, running = Batches(), [Running(7, Serving(1, 1, None, 4), newest=9)]
    for now in (5000.0, 1400.0, 1500.0):
        batches.note(running, now)
    assert batches.began_at(7) == 1400.0


def test_ends_are_noted_though_the_last_one_lies_ahead(scene: Scene) -> None:
    ended_before, job_id = scene.submit(), scene.submit()
    scene.execute("INSERT INTO estimates (job_id) SELECT id FROM jobs")
    scene.execute(
        "UPDATE estimates SET ended_at = now() + interval '1 hour' WHERE job_id = :job_id", job_id=ended_before
    )
    scene.execute("UPDATE jobs SET status = 'succeeded', finished_at = now() WHERE id = :job_id", job_id=job_id)
    with scene.database.begin() as session:
        assert actuals.note_ends(session, actuals.last_noted_end(session)) == 1
