"""What the planner's tables no longer need goes, and nothing else."""

import pytest

from farm.planner.prune import prune
from tests.factories import Scene
from tests.farm.planner.farms import HandMade


@pytest.fixture
def farm(scene: Scene) -> HandMade:
    return HandMade(scene)


def run(farm: HandMade, after: int = 0) -> int:
    with farm.scene.database.begin() as session:
        return prune(session, after)


def age(farm: HandMade, table: str, column: str, days: int) -> None:
    farm.scene.execute(f"UPDATE {table} SET {column} = now() - make_interval(days => :days)", days=days)


def test_the_seat_of_a_worker_that_went_is_taken_away(farm: HandMade) -> None:
    local, group = farm.owner(), farm.group(farm.checkpoint())
    here, gone = farm.worker("cuda:0"), farm.worker("cuda:1", status="offline")
    for worker in (here, gone):
        farm.scene.execute(
            "INSERT INTO seats (worker_id, group_id, owner_id, images, reason) VALUES (:w, :g, :o, 4, 'stays')",
            w=worker,
            g=group,
            o=local,
        )
    run(farm)
    assert farm.scene.column("SELECT worker_id FROM seats") == [here]


def test_a_group_that_no_line_names_goes_after_a_day(farm: HandMade) -> None:
    checkpoint = farm.checkpoint()
    named, unnamed = farm.group(checkpoint, "named"), farm.group(checkpoint, "unnamed")
    farm.line(named, farm.owner(), queued=0)
    run(farm)
    assert farm.scene.column("SELECT id FROM groups ORDER BY id") == [named, unnamed]
    age(farm, "groups", "created_at", 2)
    run(farm)
    assert farm.scene.column("SELECT id FROM groups") == [named]


def test_a_group_that_a_submit_holds_stays(farm: HandMade) -> None:
    group = farm.group(farm.checkpoint())
    age(farm, "groups", "created_at", 2)
    with farm.scene.database.engine.begin() as submit:
        submit.exec_driver_sql("SELECT FROM groups FOR KEY SHARE")
        run(farm)
    assert farm.scene.column("SELECT id FROM groups") == [group]


def test_groups_are_gone_through_part_by_part(farm: HandMade) -> None:
    farm.group(farm.checkpoint())
    assert run(farm) == 0
    farm.scene.execute(
        "INSERT INTO groups (pool, batch_key, checkpoint_id) "
        "SELECT 'default', n::text, checkpoint_id FROM groups, generate_series(1, 5000) n"
    )
    last = run(farm)
    assert last == 5000
    assert run(farm, last) == 0


def test_closed_queues_go(farm: HandMade) -> None:
    local = farm.owner()
    for priority, is_waiting in ((50, True), (60, False)):
        farm.scene.execute(
            "INSERT INTO queues (pool, priority, owner_id, is_waiting) VALUES ('default', :p, :o, :w)",
            p=priority,
            o=local,
            w=is_waiting,
        )
    run(farm)
    assert farm.scene.column("SELECT priority FROM queues") == [50]


def test_a_queue_that_a_submit_holds_stays(farm: HandMade) -> None:
    farm.scene.execute(
        "INSERT INTO queues (pool, priority, owner_id, is_waiting) VALUES ('default', 50, :o, false)",
        o=farm.owner(),
    )
    with farm.scene.database.engine.begin() as submit:
        submit.exec_driver_sql("UPDATE queues SET is_waiting = true")
        run(farm)
    assert farm.scene.column("SELECT is_waiting FROM queues") == [True]


def test_old_plans_and_shares_go(farm: HandMade) -> None:
    farm.scene.execute("INSERT INTO plans (pool) VALUES ('old')")
    farm.scene.execute("INSERT INTO shares (pool, owner_id) SELECT 'old', id FROM users")
    tables = {"plans": "planned_at", "shares": "updated_at"}
    run(farm)
    assert [farm.scene.scalar(f"SELECT count(*) FROM {table}") for table in tables] == [1, 1]
    for table, column in tables.items():
        age(farm, table, column, 100)
    run(farm)
    assert [farm.scene.scalar(f"SELECT count(*) FROM {table}") for table in tables] == [0, 0]


def test_of_very_many_speeds_those_that_moved_last_stay(farm: HandMade) -> None:
    farm.scene.execute(
        "INSERT INTO speeds (family, pixels, device_class, batch, seconds_per_step, samples, updated_at) "
        "SELECT 'sd15', n, 'T4', 1, 0.1, 1, now() + make_interval(secs => n) FROM generate_series(1, 20002) n"
    )
    run(farm)
    assert farm.scene.scalar("SELECT min(pixels) FROM speeds") == 3


def test_loads_of_a_removed_checkpoint_go(farm: HandMade) -> None:
    farm.scene.execute("INSERT INTO loads VALUES (:id, 'T4', 0.1, 1)", id=farm.checkpoint())
    farm.scene.execute("UPDATE checkpoints SET removed_at = now()")
    run(farm)
    assert farm.scene.scalar("SELECT count(*) FROM loads") == 0
