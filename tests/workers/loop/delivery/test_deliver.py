"""From pixels to a published result, through failing stores and lost leases."""

import errno
import gc
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

import workers.loop.delivery.deliver
from farm.queue.claim import ClaimedCheckpoint
from farm.queue.claimed import Lease
from farm.queue.leases import adopt
from farm.store.protocol import Store
from tests.factories import LEASE_SECONDS, Scene
from tests.fakes import FailingStore, MemoryStore, StuckStore
from tests.waiting import wait_until
from workers.loop.delivery import adoption
from workers.loop.delivery.deliver import Delivery
from workers.loop.delivery.rendered import RenderedImage
from workers.loop.delivery.spool import Spool, attempts_in
from workers.loop.delivery.spoolfile import FinishedImage
from workers.loop.heartbeat import Heartbeat
from workers.loop.holdings import Holdings
from workers.renderer import Picture

CHECKPOINT = ClaimedCheckpoint(1, "demo", "sd15", "a" * 64, "/nowhere")

WORKER_ID = 7

Deliver = Callable[..., None]


def a_spool(folder: Path, worker_id: int = WORKER_ID) -> Spool:
    spool = Spool(folder, worker_id, limit_bytes=2**30, batch=4)
    spool.open()
    return spool


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
def spool(tmp_path: Path) -> Iterator[Spool]:
    spool = a_spool(tmp_path / "spool")
    yield spool
    spool.close()


@pytest.fixture
def deliver(scene: Scene, holdings: Holdings, spool: Spool) -> Deliver:
    """Deliver what was rendered to a store, and wait for it."""

    def deliver_all(store: Store, *rendered: RenderedImage) -> None:
        delivery = Delivery(scene.database, store, holdings, spool, threads=2, limit=4, lease_seconds=LEASE_SECONDS)
        for image in rendered:
            delivery.accept(image)
        assert delivery.close(30)

    return deliver_all


def a_delivery(scene: Scene, store: Store, holdings: Holdings, spool: Spool, limit: int = 4) -> Delivery:
    return Delivery(scene.database, store, holdings, spool, threads=1, limit=limit, lease_seconds=LEASE_SECONDS)


def a_render(lease: Lease, provenance: dict[str, Any] | None = None, relief: tuple[str, ...] = ()) -> RenderedImage:
    pixels = np.full((64, 64, 3), 128, np.uint8)
    picture = Picture(pixels, provenance or {"bucket": 1}, relief)
    return RenderedImage(lease, CHECKPOINT, picture, gpu_seconds=0.5, timings={"render": 0.4})


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
    assert holdings.all() == []


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
    assert list(store.keys()) == []
    assert scene.statuses(lease.job_id) == ["queued"]


def test_an_image_whose_lease_is_known_to_be_lost_is_not_stored(
    deliver: Deliver, holdings: Holdings, lease: Lease
) -> None:
    store = MemoryStore()
    holdings.drop([lease])
    deliver(store, a_render(lease))
    assert list(store.keys()) == []


def test_a_failing_store_is_given_up_when_the_lease_is_lost(
    scene: Scene, deliver: Deliver, holdings: Holdings, lease: Lease
) -> None:
    threading.Timer(0.3, holdings.drop, [[lease]]).start()
    deliver(FailingStore(failures=10_000), a_render(lease))
    assert scene.statuses(lease.job_id) == ["running"]


def test_an_unforeseen_error_fails_the_attempt_with_its_evidence(
    scene: Scene, deliver: Deliver, holdings: Holdings, lease: Lease
) -> None:
    deliver(FailingStore(failures=1, error=RuntimeError("a bug")), a_render(lease))
    assert attempts(scene) == "failed: delivery failed: a bug"
    assert scene.statuses(lease.job_id) == ["queued"]
    assert holdings.all() == []


def test_a_publish_that_can_never_work_fails_the_attempt(scene: Scene, deliver: Deliver, lease: Lease) -> None:
    deliver(MemoryStore(), a_render(lease, provenance={"what": object()}))
    assert "Unable to serialize" in attempts(scene)
    assert scene.statuses(lease.job_id) == ["queued"]


def test_a_publish_outlives_postgres_sessions(scene: Scene, deliver: Deliver, lease: Lease) -> None:
    store = StuckStore()
    thread = threading.Thread(target=deliver, args=(store, a_render(lease)))
    thread.start()
    scene.end_other_sessions()
    store.let_go.set()
    thread.join(30)
    assert scene.statuses(lease.job_id) == ["succeeded"]


def test_the_memory_relief_of_a_render_is_recorded(scene: Scene, deliver: Deliver, lease: Lease) -> None:
    deliver(MemoryStore(), a_render(lease, relief=("bucket 1 instead of 2",)))
    assert scene.scalar("SELECT relief FROM attempts") == ["bucket 1 instead of 2"]


def test_a_delivered_image_leaves_the_spool(deliver: Deliver, lease: Lease, tmp_path: Path) -> None:
    deliver(MemoryStore(), a_render(lease))
    assert attempts_in(tmp_path / "spool") == set()


def test_an_image_that_cannot_be_stored_waits_in_the_spool(
    scene: Scene, holdings: Holdings, spool: Spool, lease: Lease, tmp_path: Path
) -> None:
    delivery = a_delivery(scene, FailingStore(failures=10_000), holdings, spool)
    delivery.accept(a_render(lease))
    assert not delivery.close(0.3)
    assert attempts_in(tmp_path / "spool") == {(lease.task_id, lease.attempt)}
    assert holdings.holds(lease)


def test_the_next_worker_delivers_images_left_in_the_spool(
    scene: Scene, holdings: Holdings, spool: Spool, lease: Lease, tmp_path: Path
) -> None:
    delivery = a_delivery(scene, FailingStore(failures=10_000), holdings, spool)
    delivery.accept(a_render(lease))
    delivery.close(0.3)
    spool.close()
    with closing(a_spool(tmp_path / "spool", scene.worker("cpu:1"))) as adopting:
        next_one = a_delivery(scene, MemoryStore(), Holdings(), adopting)
        next_one.adopt()
        assert next_one.close(30)
    assert scene.statuses(lease.job_id) == ["succeeded"]
    assert attempts(scene) == "succeeded"


def test_an_image_that_the_disk_refuses_is_delivered_from_memory(
    scene: Scene, deliver: Deliver, lease: Lease, tmp_path: Path
) -> None:
    shutil.rmtree(tmp_path / "spool" / str(WORKER_ID))
    deliver(FailingStore(failures=2), a_render(lease))
    assert scene.statuses(lease.job_id) == ["succeeded"]


def test_a_worker_whose_disk_refuses_images_claims_no_more(
    scene: Scene, holdings: Holdings, spool: Spool, lease: Lease, tmp_path: Path
) -> None:
    shutil.rmtree(tmp_path / "spool" / str(WORKER_ID))
    store = StuckStore()
    delivery = a_delivery(scene, store, holdings, spool)
    delivery.accept(a_render(lease))
    wait_until(lambda: delivery.is_full, seconds=10)
    store.let_go.set()
    assert delivery.close(30)
    assert not delivery.is_full


def test_an_accepted_image_is_in_the_spool_after_the_wait_for_it(
    scene: Scene, holdings: Holdings, spool: Spool, lease: Lease, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = workers.loop.delivery.deliver.encode_rendered

    def slowly(rendered: RenderedImage) -> FinishedImage:
        time.sleep(0.3)
        return finish(rendered)

    monkeypatch.setattr("workers.loop.delivery.deliver.encode_rendered", slowly)
    store = StuckStore()
    delivery = a_delivery(scene, store, holdings, spool, limit=1)
    delivery.accept(a_render(lease))
    delivery.wait_until_spooled()
    assert attempts_in(tmp_path / "spool") == {(lease.task_id, lease.attempt)}
    store.let_go.set()
    assert delivery.close(30)


def test_a_hanging_store_does_not_keep_further_images_from_the_spool(
    scene: Scene, holdings: Holdings, spool: Spool, tmp_path: Path
) -> None:
    scene.submit(images_per_prompt=6)
    leases = scene.claim(scene.worker())
    holdings.take(leases)
    store = StuckStore()
    delivery = a_delivery(scene, store, holdings, spool, limit=1)
    for lease in leases:
        delivery.accept(a_render(lease))
    wait_until(lambda: len(attempts_in(tmp_path / "spool")) == 6, seconds=10)
    store.let_go.set()
    assert delivery.close(30)
    assert len(store.objects) == 12


@pytest.fixture
def left_behind(scene: Scene, lease: Lease, tmp_path: Path) -> Lease:
    """A worker rendered an image, could not store it, and is gone."""
    with closing(a_spool(tmp_path / "spool")) as spool:
        spool.put(workers.loop.delivery.deliver.encode_rendered(a_render(lease)))
    return lease


@pytest.fixture
def heir(scene: Scene, tmp_path: Path) -> Iterator[Delivery]:
    """The deliveries of another worker, to a store that is stuck."""
    store = StuckStore()
    with closing(a_spool(tmp_path / "spool", scene.worker("cpu:1"))) as spool:
        delivery = a_delivery(scene, store, Holdings(), spool)
        yield delivery
        store.let_go.set()
        assert delivery.close(30)


def test_an_adopted_image_belongs_to_the_new_worker_at_once(
    scene: Scene, left_behind: Lease, heir: Delivery
) -> None:
    before = scene.scalar("SELECT worker_id FROM tasks")
    heir.adopt()
    after = scene.scalar("SELECT worker_id FROM tasks")
    assert (before, after) == tuple(scene.column("SELECT id FROM workers ORDER BY id"))
    assert scene.release_dead(before) == 0


def test_an_image_that_is_being_adopted_is_not_taken_back_by_a_heartbeat(
    scene: Scene, left_behind: Lease, heir: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By then the record names the new worker, which holds it only once the file lies in its own folder."""
    heartbeat = Heartbeat(scene.settings, scene.database, heir._spool.worker_id, heir._holdings, lambda: None)
    scene.execute("UPDATE attempts SET started_at = now() - interval '1 hour'")
    move = Spool.adopt

    def beat_and_move(spool: Spool, path: Path) -> Path:
        heartbeat._beat_once()
        return move(spool, path)

    monkeypatch.setattr(Spool, "adopt", beat_and_move)
    heir.adopt()
    heartbeat._beat_once()
    assert scene.statuses(left_behind.job_id) == ["running"]
    assert heir._holdings.holds(left_behind)


def fail_to_move(*_: Any) -> Path:
    raise OSError(errno.EIO, "input/output error")


def a_heartbeat(scene: Scene, delivery: Delivery) -> Heartbeat:
    """That of the worker whose deliveries these are; all that runs began an hour ago."""
    scene.execute("UPDATE attempts SET started_at = now() - interval '1 hour'")
    return Heartbeat(scene.settings, scene.database, delivery._spool.worker_id, delivery._holdings, lambda: None)


def test_an_image_that_cannot_be_moved_yet_is_not_taken_back_by_a_heartbeat(
    scene: Scene, left_behind: Lease, heir: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    heartbeat = a_heartbeat(scene, heir)
    with monkeypatch.context() as disk:
        disk.setattr(Spool, "adopt", fail_to_move)
        heir.adopt()
        heartbeat._beat_once()
        assert scene.scalar("SELECT worker_id FROM tasks") == heir._spool.worker_id
    heir.adopt()
    heartbeat._beat_once()
    assert heir._holdings.holds(left_behind)
    assert scene.statuses(left_behind.job_id) == ["running"]


def test_an_image_whose_adoption_got_no_answer_is_not_taken_back_by_a_heartbeat(
    scene: Scene, left_behind: Lease, heir: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    heartbeat = a_heartbeat(scene, heir)

    def commit_and_lose_the_answer(_: Session, *arguments: Any) -> None:
        with scene.database.begin() as session:
            adopt(session, *arguments)
        raise OperationalError("COMMIT", {}, Exception("the server closed the connection"))

    with monkeypatch.context() as postgres:
        postgres.setattr("farm.queue.leases.adopt", commit_and_lose_the_answer)
        heir.adopt()
    assert scene.scalar("SELECT worker_id FROM tasks") == heir._spool.worker_id
    heartbeat._beat_once()
    assert scene.statuses(left_behind.job_id) == ["running"]
    heir.adopt()
    assert heir._holdings.holds(left_behind)


def test_what_was_moved_is_delivered_though_the_disk_fails_after_it(
    scene: Scene, left_behind: Lease, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.loop.delivery.spool._remove_if_empty", fail_to_move)
    with closing(a_spool(tmp_path / "spool", scene.worker("cpu:1"))) as spool:
        delivery = a_delivery(scene, MemoryStore(), Holdings(), spool)
        delivery.adopt()
        assert delivery.close(30)
        monkeypatch.undo()
    assert scene.statuses(left_behind.job_id) == ["succeeded"]


def test_an_image_that_can_never_be_moved_is_given_up(
    scene: Scene, left_behind: Lease, heir: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    heartbeat = a_heartbeat(scene, heir)
    monkeypatch.setattr(Spool, "adopt", fail_to_move)
    for _ in range(10):
        assert scene.statuses(left_behind.job_id) == ["running"]
        heir.adopt()
        heartbeat._beat_once()
    assert scene.statuses(left_behind.job_id) == ["queued"]
    monkeypatch.undo()


def test_an_image_that_cannot_be_adopted_now_stays_where_it_is(
    scene: Scene, left_behind: Lease, heir: Delivery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> None:
        raise OperationalError("UPDATE tasks", {}, Exception("the server closed the connection"))

    with monkeypatch.context() as postgres:
        postgres.setattr("farm.queue.leases.adopt", away)
        heir.adopt()
    assert [path.parent.name for path in (tmp_path / "spool").rglob("*.image")] == [str(WORKER_ID)]
    heir.adopt()
    assert scene.scalar("SELECT worker_id FROM tasks") == scene.scalar("SELECT max(id) FROM workers")


def test_an_image_whose_lease_was_lost_is_not_adopted(
    scene: Scene, left_behind: Lease, heir: Delivery, tmp_path: Path
) -> None:
    scene.let_leases_end(left_behind)
    scene.expire()
    heir.adopt()
    assert attempts_in(tmp_path / "spool") == set()
    assert scene.statuses(left_behind.job_id) == ["queued"]


def test_images_that_wait_in_the_spool_take_no_memory(
    scene: Scene, holdings: Holdings, spool: Spool, tmp_path: Path
) -> None:
    scene.submit(images_per_prompt=8, seed=4711)
    leases = scene.claim(scene.worker())
    holdings.take(leases)
    delivery = a_delivery(scene, FailingStore(failures=10_000), holdings, spool)
    for lease in leases:
        delivery.accept(a_render(lease))
    delivery.wait_until_spooled()
    held = sum(isinstance(thing, FinishedImage) and thing.lease in leases for thing in gc.get_objects())
    assert len(attempts_in(tmp_path / "spool")) == 8
    # The one that is being tried, and its record while that is read.
    assert held <= 2
    delivery.close(0)


def test_a_disk_that_deletes_nothing_holds_up_neither_leases_nor_further_images(
    scene: Scene, holdings: Holdings, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.submit(images_per_prompt=3)
    leases = scene.claim(scene.worker())
    holdings.take(leases)

    def refuse(_: Path) -> None:
        raise OSError(errno.EROFS, "read-only file system")

    monkeypatch.setattr(spool, "drop", refuse)
    delivery = a_delivery(scene, MemoryStore(), holdings, spool)
    for lease in leases:
        delivery.accept(a_render(lease))
    assert delivery.close(30)
    assert holdings.all() == []
    assert scene.statuses(leases[0].job_id) == ["succeeded"] * 3


def test_a_disk_that_fails_keeps_no_worker_from_its_turn(
    scene: Scene, left_behind: Lease, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr("workers.loop.delivery.spoolfile.read_lease", fail)
    spool = a_spool(tmp_path / "spool", WORKER_ID + 1)
    assert adoption.adopt(scene.database, spool, LEASE_SECONDS).taken == []
    spool.close()
    assert len(list(tmp_path.rglob("*.image"))) == 1
