"""From pixels to a published result, through failing stores and lost leases."""

import threading
from collections.abc import Callable
from contextlib import closing
from typing import Any

import numpy as np
import pytest

from farm.dispatch import ClaimedCheckpoint, Lease
from farm.store import Store
from tests.factories import Scene
from tests.fakes import FailingStore, MemoryStore, StuckStore
from workers.delivery import Delivery, Rendered
from workers.holdings import Holdings

CHECKPOINT = ClaimedCheckpoint(1, "demo", "sd15", "a" * 64, "/nowhere")

Deliver = Callable[..., None]


@pytest.fixture
def holdings() -> Holdings:
    return Holdings()


@pytest.fixture
def lease(scene: Scene, holdings: Holdings) -> Lease:
    """A lease on the one image of a job, held by a worker."""
    scene.submit()
    [lease] = scene.claim(scene.worker())
    holdings.take([lease])
    return lease


@pytest.fixture
def deliver(scene: Scene, holdings: Holdings) -> Deliver:
    """Deliver what was rendered to a store, and wait for it."""

    def deliver_all(store: Store, *rendered: Rendered) -> None:
        with closing(Delivery(scene.database, store, holdings, threads=2, limit=4)) as delivery:
            for image in rendered:
                delivery.accept(image)

    return deliver_all


def a_render(lease: Lease, **fields: Any) -> Rendered:
    pixels = np.full((64, 64, 3), 128, np.uint8)
    plain = {"gpu_seconds": 0.5, "timings": {"render": 0.4}, "provenance": {"bucket": 1}}
    return Rendered(lease, CHECKPOINT, pixels, **{**plain, **fields})


def attempts(scene: Scene) -> str:
    found = scene.scalar("SELECT string_agg(outcome || coalesce(': ' || error, ''), '; ') FROM attempts")
    return str(found)


def test_an_image_and_its_thumbnail_are_stored_and_published(scene: Scene, deliver: Deliver, lease: Lease) -> None:
    store = MemoryStore()
    deliver(store, a_render(lease))
    place = f"{lease.job_id}/{lease.task_id}-1"
    assert store.media_types == {f"results/{place}.png": "image/png", f"thumbnails/{place}.jpg": "image/jpeg"}
    assert scene.statuses(lease.job_id) == ["succeeded"]


def test_the_attempt_records_its_timings(scene: Scene, deliver: Deliver, lease: Lease) -> None:
    deliver(MemoryStore(), a_render(lease))
    assert scene.scalar("SELECT timings FROM attempts").keys() == {"render", "encode", "store"}


def test_a_delivered_lease_is_no_longer_held(deliver: Deliver, holdings: Holdings, lease: Lease) -> None:
    deliver(MemoryStore(), a_render(lease))
    assert holdings.is_empty()


def test_a_store_that_fails_is_tried_again(scene: Scene, deliver: Deliver, lease: Lease) -> None:
    store = FailingStore(failures=2)
    deliver(store, a_render(lease))
    assert len(store.objects) == 2
    assert scene.statuses(lease.job_id) == ["succeeded"]


def test_the_objects_of_a_refused_attempt_are_thrown_away(scene: Scene, deliver: Deliver, lease: Lease) -> None:
    store = MemoryStore()
    scene.let_leases_end(lease)
    scene.expire()
    deliver(store, a_render(lease))
    assert store.keys() == []
    assert scene.statuses(lease.job_id) == ["queued"]


def test_nothing_is_stored_once_the_lease_is_known_to_be_lost(
    deliver: Deliver, holdings: Holdings, lease: Lease
) -> None:
    store = MemoryStore()
    holdings.drop([lease])
    deliver(store, a_render(lease))
    assert store.keys() == []


def test_a_failing_store_is_given_up_when_the_lease_is_lost(
    scene: Scene, deliver: Deliver, holdings: Holdings, lease: Lease
) -> None:
    threading.Timer(0.3, holdings.drop, [[lease]]).start()
    deliver(FailingStore(failures=10_000), a_render(lease))
    assert scene.statuses(lease.job_id) == ["running"]


def test_an_error_nobody_foresaw_fails_the_attempt_with_its_evidence(
    scene: Scene, deliver: Deliver, holdings: Holdings, lease: Lease
) -> None:
    deliver(FailingStore(failures=1, error=RuntimeError("a bug")), a_render(lease))
    assert attempts(scene) == "failed: delivery failed: a bug"
    assert scene.statuses(lease.job_id) == ["queued"]
    assert holdings.is_empty()


def test_a_publish_that_can_never_work_fails_the_attempt(scene: Scene, deliver: Deliver, lease: Lease) -> None:
    deliver(MemoryStore(), a_render(lease, provenance={"what": object()}))
    assert "not JSON serializable" in attempts(scene)
    assert scene.statuses(lease.job_id) == ["queued"]


def test_a_publish_outlives_postgres_sessions(scene: Scene, deliver: Deliver, lease: Lease) -> None:
    store = StuckStore()
    thread = threading.Thread(target=deliver, args=(store, a_render(lease)))
    thread.start()
    scene.end_other_sessions()
    store.let_go.set()
    thread.join(30)
    assert scene.statuses(lease.job_id) == ["succeeded"]


def test_no_more_images_are_taken_over_than_there_is_room_for(scene: Scene, holdings: Holdings) -> None:
    scene.submit(images_per_prompt=2)
    leases = scene.claim(scene.worker())
    holdings.take(leases)
    store = StuckStore()
    delivery = Delivery(scene.database, store, holdings, threads=2, limit=1)
    delivery.accept(a_render(leases[0]))
    second = threading.Thread(target=delivery.accept, args=(a_render(leases[1]),))
    second.start()
    second.join(0.2)
    assert second.is_alive()
    store.let_go.set()
    second.join(30)
    delivery.close()
    assert len(store.objects) == 4
