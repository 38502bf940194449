"""Who is there, and who fell silent."""

from typing import Any

from sqlalchemy import text

from farm.queue.workers import fleet
from farm.queue.workers.fleet import DeviceReport
from tests.factories import Scene, a_checkpoint, a_year_of_workers


def fall_silent(scene: Scene, worker_id: int, seconds: int) -> None:
    with scene.database.begin() as session:
        past = text("UPDATE workers SET last_seen_at = now() - make_interval(secs => :s) WHERE id = :id")
        session.execute(past, {"s": seconds, "id": worker_id})


def retire_silent(scene: Scene) -> list[int]:
    with scene.database.begin() as session:
        return list(fleet.retire_silent(session, silent_seconds=40))


def test_a_worker_that_starts_again_has_a_new_id(scene: Scene) -> None:
    assert scene.worker("0") != scene.worker("0")


def test_a_worker_that_fell_silent_is_gone(scene: Scene) -> None:
    silent, _ = scene.worker("0"), scene.worker("1")
    fall_silent(scene, silent, 60)
    assert retire_silent(scene) == [silent]
    assert scene.scalar("SELECT reason FROM workers WHERE status = 'offline'") == "not heard of"


def test_a_worker_is_not_retired_twice(scene: Scene) -> None:
    fall_silent(scene, scene.worker(), 60)
    retire_silent(scene)
    assert retire_silent(scene) == []


def test_a_worker_that_speaks_again_is_back(scene: Scene) -> None:
    worker_id = scene.worker()
    fall_silent(scene, worker_id, 60)
    retire_silent(scene)
    with scene.database.begin() as session:
        fleet.beat(session, worker_id, "idle", a_checkpoint(scene.database))
        assert fleet.workers_in_service(session, "default") == 1


def test_workers_are_counted_by_pool(scene: Scene) -> None:
    scene.worker("0")
    scene.worker("1", pool="large")
    scene.worker("2", pool="large")
    with scene.database.begin() as session:
        assert [fleet.workers_in_service(session, pool) for pool in ("default", "large", "none")] == [1, 2, 0]


def test_the_first_reason_for_going_is_kept(scene: Scene) -> None:
    worker_id = scene.worker()
    with scene.database.begin() as session:
        fleet.retire(session, worker_id, "the device broke")
        fleet.retire(session, worker_id, "stopped")
    assert scene.scalar("SELECT reason FROM workers") == "the device broke"


def test_a_beat_reports_what_lies_on_the_device_and_when_it_is_free(scene: Scene) -> None:
    worker_id = scene.worker()
    report = DeviceReport("NVIDIA H200\0", 2**37, residents=[7, 3], cached=[7, 3, 9], busy_seconds=12.5)
    with scene.database.begin() as session:
        fleet.beat(session, worker_id, "busy", None, device=report)
    columns = "device_class, memory_bytes, residents, cached, extract(epoch FROM free_at - last_seen_at)::float8"
    assert rows(scene, f"SELECT {columns} FROM workers") == [("NVIDIA H200", 2**37, [7, 3], [7, 3, 9], 12.5)]


def test_a_beat_without_a_report_leaves_the_device_as_it_was_reported(scene: Scene) -> None:
    worker_id = scene.worker()
    with scene.database.begin() as session:
        fleet.beat(session, worker_id, "idle", None, device=DeviceReport("cpu", 2**33, residents=[7]))
        fleet.beat(session, worker_id, "idle", None)
    assert rows(scene, "SELECT device_class, residents, free_at FROM workers") == [("cpu", [7], None)]


def rows(scene: Scene, sql: str) -> list[tuple[Any, ...]]:
    with scene.database.begin() as session:
        return [tuple(row) for row in session.execute(text(sql))]


def test_workers_that_went_long_ago_are_forgotten_part_by_part(scene: Scene) -> None:
    a_year_of_workers(scene, 5)
    ids = scene.column("SELECT id FROM workers ORDER BY id")
    after = 0
    for left in (ids[:1] + ids[3:], ids[:1] + ids[5:], ids[:1]):
        with scene.database.begin() as session:
            after = fleet.forget_gone(session, after, limit=2)
        assert scene.column("SELECT id FROM workers ORDER BY id") == left
    assert after == 0


def test_a_worker_that_an_attempt_names_is_not_forgotten(scene: Scene) -> None:
    scene.submit()
    worker_id = scene.worker()
    scene.publish(scene.claim(worker_id)[0])
    scene.execute("UPDATE workers SET status = 'offline', last_seen_at = now() - interval '8 days'")
    with scene.database.begin() as session:
        fleet.forget_gone(session)
    assert scene.column("SELECT id FROM workers") == [worker_id]


def test_a_heartbeat_changes_its_row_in_place(scene: Scene) -> None:
    """No index holds what each heartbeat writes: else each would write to all indexes, and leave a dead row."""
    indexed = """
        SELECT DISTINCT attname FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY (indkey)
        WHERE indrelid = 'workers'::regclass
    """
    beats = {"last_seen_at", "lease_until", "free_at", "residents", "cached", "memory_bytes", "reason"}
    assert beats & set(scene.column(indexed)) == set()
