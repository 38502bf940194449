"""The slow half of the housekeeping waits outages out, and several may run at once."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator

from sqlalchemy import insert, text

from farm.db.connection import Database, Role
from farm.db.locks import Lock
from farm.db.tables.artifacts import Discard
from farm.embedded.machine import build_environment
from farm.errors import StoreError, StoreRefused
from farm.store.keys import INPUTS
from farm.store.protocol import Store
from farm.upkeep.cleaner import Cleaner
from tests.factories import Scene, a_checkpoint
from tests.fakes import MemoryStore
from tests.waiting import wait_until


class UnlistedStore(MemoryStore):
    """A store that cannot be listed."""

    def keys(self, prefix: str = "") -> Iterator[str]:
        raise StoreError("The bucket cannot be reached.")


def a_cleaner(scene: Scene, store: Store, **settings: float) -> Cleaner:
    return Cleaner(scene.settings.model_copy(update=settings), scene.database, store)


def an_orphan(scene: Scene, store: Store) -> str:
    """An object that an attempt uploaded which was then lost; its key."""
    job_id = scene.submit()
    [lease] = scene.lose(scene.worker())
    key = f"results/{job_id}/{lease.task_id}-{lease.attempt}.png"
    store.put(key, b"pixels", "image/png")
    return key


def test_a_round_sweeps_and_records_what_it_found(scene: Scene, store: Store) -> None:
    an_orphan(scene, store)
    store.put("my holiday.png", b"pixels", "image/png")
    a_cleaner(scene, store).make_round()
    assert list(store.keys()) == ["my holiday.png"]
    assert scene.scalar("SELECT reason FROM events WHERE kind = 'store.swept'") == (
        "deleted: 1 orphans, 0 half-written files; left alone: 1 objects that are not this farm's"
    )


def test_a_cleaner_does_not_sweep_soon_after_another_sweep(scene: Scene, store: Store) -> None:
    a_cleaner(scene, store).make_round()
    key = an_orphan(scene, store)
    a_cleaner(scene, store).make_round()
    assert list(store.keys()) == [key]


def test_a_sweep_is_due_again_after_its_time(scene: Scene, store: Store) -> None:
    a_cleaner(scene, store).make_round()
    an_orphan(scene, store)
    scene.scalar(
        "UPDATE events SET created_at = now() - interval '2 hours' WHERE kind = 'store.swept' RETURNING id"
    )
    a_cleaner(scene, store, sweep_seconds=3600).make_round()
    assert list(store.keys()) == []


def test_a_cleaner_does_not_sweep_while_another_does(scene: Scene, store: Store) -> None:
    key = an_orphan(scene, store)
    with scene.database.engine.connect() as connection:
        connection.execute(text(f"SELECT pg_advisory_lock({Lock.SWEEP.value})"))
        a_cleaner(scene, store).make_round()
        assert list(store.keys()) == [key]
        connection.execute(text(f"SELECT pg_advisory_unlock({Lock.SWEEP.value})"))
    a_cleaner(scene, store).make_round()
    assert list(store.keys()) == []


def test_a_sweep_holds_no_transaction_open(scene: Scene) -> None:
    open_transactions = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'"
    seen = []

    class WatchedStore(MemoryStore):
        """A store that looks at Postgres while it is listed and while it deletes."""

        def keys(self, prefix: str = "") -> Iterator[str]:
            seen.append(scene.scalar(open_transactions))
            return super().keys(prefix)

        def delete(self, key: str) -> None:
            seen.append(scene.scalar(open_transactions))
            super().delete(key)

    store = WatchedStore()
    an_orphan(scene, store)
    a_cleaner(scene, store).make_round()
    assert (seen, store.objects) == ([0, 0], {})


def test_a_store_that_fails_keeps_no_other_step_from_being_made(scene: Scene) -> None:
    scene.submit()
    scene.let_days_pass(31)
    cleaner = a_cleaner(scene, UnlistedStore(), keep_events_days=30)
    cleaner.make_round()
    assert scene.scalar("SELECT count(*) FROM events") == 0


class HeldStore(MemoryStore):
    """A store that lets some objects not be deleted, and does not tell what was begun."""

    def __init__(self, *held: str) -> None:
        super().__init__()
        self._held = held

    def delete(self, key: str) -> None:
        if key in self._held:
            raise StoreRefused(f"Could not delete {key}: AccessDenied")
        super().delete(key)

    def clear_leftovers(self, older_than_seconds: float) -> int:
        raise StoreRefused("Could not list begun uploads: AccessDenied")


def test_an_object_that_cannot_be_deleted_holds_up_no_other(scene: Scene) -> None:
    store = HeldStore("results/1.png", f"{INPUTS}1.png")
    with scene.database.begin() as session:
        for key in ("results/1.png", "results/2.png", f"{INPUTS}1.png", f"{INPUTS}2.png"):
            store.put(key, b"pixels", "image/png")
            session.execute(insert(Discard).values(key=key))
    a_cleaner(scene, store).make_round()
    assert sorted(store.keys()) == [f"{INPUTS}1.png", "results/1.png"]
    assert sorted(scene.column("SELECT key FROM discards")) == [f"{INPUTS}1.png", "results/1.png"]


def test_a_sweep_ends_although_the_store_refuses_a_part_of_it(scene: Scene) -> None:
    store = HeldStore()
    orphan = an_orphan(scene, store)
    a_cleaner(scene, store).make_round()
    assert not store.exists(orphan)
    assert scene.scalar("SELECT count(*) FROM events WHERE kind = 'store.swept'") == 1


def test_a_sweep_that_failed_is_repeated_in_the_next_round(scene: Scene, store: Store) -> None:
    an_orphan(scene, store)
    a_cleaner(scene, UnlistedStore()).make_round()
    a_cleaner(scene, store).make_round()
    assert list(store.keys()) == []


def test_a_cleaner_waits_for_a_database_that_is_away(scene: Scene, store: Store) -> None:
    away = Database("postgresql://farm@127.0.0.1:1/farm", Role.KEEPER)
    cleaner = Cleaner(scene.settings.model_copy(update={"sweep_seconds": 0.1}), away, store)
    thread = threading.Thread(target=cleaner.run)
    thread.start()
    thread.join(0.5)
    assert thread.is_alive()
    cleaner.stop()
    thread.join(10)
    assert not thread.is_alive()


def test_the_keepers_process_cleans_too(scene: Scene, store: Store) -> None:
    an_orphan(scene, store)
    settings = scene.settings.model_copy(update={"sweep_seconds": 1})
    keeper = subprocess.Popen(
        [sys.executable, "-m", "farm", "keeper"], env={**os.environ, **build_environment(settings)}
    )
    wait_until(lambda: list(store.keys()) == [], seconds=30)
    keeper.terminate()
    assert keeper.wait(20) == 0


def test_workers_that_went_long_ago_are_forgotten(scene: Scene, store: Store) -> None:
    scene.worker()
    scene.execute("UPDATE workers SET last_seen_at = now() - interval '8 days', status = 'offline'")
    Cleaner(scene.settings, scene.database, store).make_round()
    assert scene.scalar("SELECT count(*) FROM workers") == 0


def test_expired_memory_limits_and_exclusions_are_forgotten_a_day_later(scene: Scene, store: Store) -> None:
    scene.submit()
    scene.fail_for_memory(*scene.claim(scene.worker()))
    scene.avoid("host/cpu", a_checkpoint(scene.database))
    scene.drain()
    for table in ("memory_limits", "exclusions"):
        scene.execute(f"UPDATE {table} SET created_at = created_at - interval '25 hours'")
    Cleaner(scene.settings, scene.database, store).make_round()
    assert scene.scalar("SELECT count(*) FROM memory_limits") == 0
    assert scene.column("SELECT checkpoint_id FROM exclusions") == [None]
