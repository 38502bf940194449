"""An object is deleted only when no attempt can ever publish it."""

from dataclasses import replace

import pytest

from farm.queue import endings, steering
from farm.queue.claimed import Lease
from farm.upkeep import orphans
from farm.upkeep.orphans import Swept
from tests.factories import Scene, an_object
from tests.fakes import MemoryStore


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def key_of(lease: Lease, role: str = "result", suffix: str = "png") -> str:
    """As workers name what they upload."""
    return f"{role}s/{lease.job_id}/{lease.task_id}-{lease.attempt}.{suffix}"


def upload(store: MemoryStore, *leases: Lease) -> None:
    for lease in leases:
        store.put(key_of(lease), b"pixels", "image/png")
        store.put(key_of(lease, "thumbnail", "jpg"), b"pixels", "image/jpeg")


def sweep(scene: Scene, store: MemoryStore) -> Swept:
    return orphans.sweep(scene.database, store)


def test_objects_of_a_running_attempt_are_kept(scene: Scene, store: MemoryStore) -> None:
    scene.submit()
    upload(store, *scene.claim(scene.worker()))
    assert sweep(scene, store) == Swept(orphans=0, leftovers=0, strangers=0)
    assert len(store.objects) == 2


def test_an_object_that_an_artifact_names_is_kept(scene: Scene, store: MemoryStore) -> None:
    scene.submit()
    [lease] = scene.claim(scene.worker())
    upload(store, lease)
    scene.publish(lease)
    scene.scalar("UPDATE artifacts SET key = :key WHERE role = 'result' RETURNING id", key=key_of(lease))
    sweep(scene, store)
    assert list(store.objects) == [key_of(lease)]


def test_objects_of_a_lost_attempt_are_deleted(scene: Scene, store: MemoryStore) -> None:
    scene.submit()
    upload(store, *scene.lose(scene.worker()))
    assert sweep(scene, store) == Swept(orphans=2, leftovers=0, strangers=0)
    assert store.objects == {}


def test_objects_of_an_earlier_attempt_are_deleted_while_the_next_one_runs(
    scene: Scene, store: MemoryStore
) -> None:
    scene.submit()
    worker_id = scene.worker()
    stale = scene.lose(worker_id)
    [current] = scene.claim(worker_id)
    upload(store, *stale, current)
    sweep(scene, store)
    assert set(store.objects) == {key_of(current), key_of(current, "thumbnail", "jpg")}


def test_objects_of_a_cancelled_attempt_are_deleted(scene: Scene, store: MemoryStore) -> None:
    job_id = scene.submit()
    upload(store, *scene.claim(scene.worker()))
    steering.cancel(scene.database, job_id)
    assert sweep(scene, store).orphans == 2


def test_an_object_of_an_attempt_yet_to_come_is_left_alone(scene: Scene, store: MemoryStore) -> None:
    """A restored backup knows fewer attempts than there were: the next one may upload to this very key."""
    scene.submit()
    [lease] = scene.lose(scene.worker())
    store.put(f"results/{lease.job_id}/{lease.task_id}-2.png", b"pixels", "image/png")
    assert sweep(scene, store) == Swept(orphans=0, leftovers=0, strangers=1)


@pytest.mark.parametrize(
    "key",
    [
        "results/999/1-1.png",
        "results/1/999-1.png",
        "results/1/1-1.png.bak",
        "backup/results/1/1-1.png",
        "uploads/1/1-1.png",
        "results/1/" + "9" * 40 + "-1.png",
        "results/1/1-99999999999.png",
        "results/1/\u0661-1.png",
        "my holiday.png",
    ],
)
def test_an_object_that_belongs_to_no_task_of_this_farm_is_left_alone_and_counted(
    scene: Scene, store: MemoryStore, key: str
) -> None:
    scene.submit()
    scene.lose(scene.worker())
    store.put(key, b"pixels", "image/png")
    assert sweep(scene, store) == Swept(orphans=0, leftovers=0, strangers=1)
    assert list(store.objects) == [key]


def test_an_object_that_is_to_be_discarded_is_not_counted_as_a_strangers(scene: Scene, store: MemoryStore) -> None:
    store.put("results/7/7-1.png", b"pixels", "image/png")
    scene.scalar("INSERT INTO discards (key) VALUES ('results/7/7-1.png') RETURNING key")
    assert sweep(scene, store) == Swept(orphans=0, leftovers=0, strangers=0)


def test_all_pages_of_a_large_store_are_swept(
    scene: Scene, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orphans, "_PAGE", 2)
    scene.submit(images_per_prompt=5)
    leases = scene.claim(scene.worker())
    upload(store, *leases)
    scene.let_leases_end(*leases)
    scene.expire()
    assert sweep(scene, store).orphans == 10


def test_a_publish_under_way_keeps_its_objects(scene: Scene, store: MemoryStore) -> None:
    """Before its COMMIT the task still runs this attempt; after it an artifact names the object."""
    scene.submit()
    [lease] = scene.claim(scene.worker())
    upload(store, lease)
    with scene.database.begin() as session:
        stored = replace(an_object("result", lease), key=key_of(lease))
        thumbnail = replace(an_object("thumbnail", lease), key=key_of(lease, "thumbnail", "jpg"))
        endings.publish(session, lease, stored, thumbnail, provenance={}, timings={}, gpu_seconds=1)
        assert sweep(scene, store).orphans == 0
    assert sweep(scene, store).orphans == 0
    assert len(store.objects) == 2
