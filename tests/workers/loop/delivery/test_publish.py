"""Images that were rendered together are published together, and none holds up another."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from farm.errors import LeaseLost
from farm.queue import endings
from farm.queue.claimed import AttemptKey, Lease
from farm.queue.endings import Published
from farm.queue.results import Finished
from tests.factories import Scene, a_finished
from tests.waiting import wait_until
from workers.loop.delivery.pending import PendingImage, UploadedImage
from workers.loop.delivery.publish import Publisher
from workers.loop.holdings import Holdings


class Deliveries:
    """What became of images, as a publisher reports it."""

    def __init__(self) -> None:
        self.published: list[Lease] = []
        self.refused: list[Finished] = []
        self.failed: dict[AttemptKey, Exception] = {}
        self.sets: list[int] = []

    @property
    def over(self) -> int:
        return len(self.published) + len(self.failed)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Deliveries:
    """Also how many images each transaction publishes."""
    seen, publish_all = Deliveries(), endings.publish_all

    def note(session: Session, finished: list[Finished]) -> Published:
        seen.sets.append(len(finished))
        return publish_all(session, finished)

    monkeypatch.setattr(endings, "publish_all", note)
    return seen


@pytest.fixture
def publisher(scene: Scene, seen: Deliveries) -> Iterator[Callable[..., Publisher]]:
    ending = threading.Event()
    started: list[Publisher] = []

    def start(holdings: Holdings, are_more_coming: Callable[[], bool] = lambda: False) -> Publisher:
        started.append(
            Publisher(
                scene.database,
                holdings,
                ending,
                are_more_coming=are_more_coming,
                on_published=lambda image: seen.published.append(image.lease),
                on_refused=seen.refused.append,
                on_failed=lambda image, error: seen.failed.__setitem__(image.lease.key, error),
            )
        )
        return started[-1]

    yield start
    ending.set()
    for each in started:
        each.stop()


def claim(scene: Scene, images: int) -> tuple[tuple[Lease, ...], Holdings]:
    scene.submit(images_per_prompt=images)
    leases, holdings = scene.claim(scene.worker()), Holdings()
    holdings.take(leases)
    return leases, holdings


def uploaded(lease: Lease, **fields: Any) -> UploadedImage:
    finished = a_finished(lease, **fields)
    return UploadedImage(PendingImage(lease, None), finished)  # type: ignore[arg-type]


@contextmanager
def held_up(scene: Scene) -> Iterator[None]:
    """Meanwhile nothing can be published."""
    with scene.database.begin() as session:
        session.connection().exec_driver_sql("LOCK TABLE tasks")
        yield


def test_images_that_come_one_after_the_other_are_published_in_one_transaction(
    scene: Scene, publisher: Callable[..., Publisher], seen: Deliveries
) -> None:
    leases, holdings = claim(scene, 4)
    to_come = list(leases)
    publishing = publisher(holdings, lambda: bool(to_come))
    for lease in leases:
        publishing.put(uploaded(lease))
        time.sleep(0.01)
        to_come.remove(lease)
    wait_until(lambda: seen.over == 4, seconds=20)
    assert seen.sets == [4]
    assert scene.statuses(leases[0].job_id) == ["succeeded"] * 4


def test_mates_that_do_not_come_are_not_waited_for_long(
    scene: Scene, publisher: Callable[..., Publisher], seen: Deliveries
) -> None:
    [lease], holdings = claim(scene, 1)
    publisher(holdings, lambda: True).put(uploaded(lease))
    wait_until(lambda: seen.published == [lease], seconds=10)


def test_what_is_uploaded_during_an_outage_is_published_together_after_it(
    scene: Scene, publisher: Callable[..., Publisher], seen: Deliveries, monkeypatch: pytest.MonkeyPatch
) -> None:
    leases, holdings = claim(scene, 6)
    publish_all = endings.publish_all

    def away(*_: Any) -> None:
        raise OperationalError("UPDATE tasks", {}, Exception("the server closed the connection"))

    with monkeypatch.context() as postgres:
        postgres.setattr(endings, "publish_all", away)
        publishing = publisher(holdings)
        publishing.put(uploaded(leases[0]))
        wait_until(lambda: publishing.is_held_up, seconds=10)
        for lease in leases[1:]:
            publishing.put(uploaded(lease))
    wait_until(lambda: seen.over == 6, seconds=20)
    assert endings.publish_all is publish_all
    assert not publishing.is_held_up
    assert seen.sets == [1, 5]


def test_an_image_that_can_never_be_published_holds_up_none_of_its_mates(
    scene: Scene, publisher: Callable[..., Publisher], seen: Deliveries
) -> None:
    leases, holdings = claim(scene, 4)
    good, bad = [leases[0], *leases[2:]], leases[1]
    publishing = publisher(holdings, lambda: seen.over == 0)
    for lease in leases:
        publishing.put(uploaded(lease, provenance={"what": "\0"} if lease is bad else {}))
    wait_until(lambda: seen.over == 4, seconds=20)
    assert seen.published == good
    assert list(seen.failed) == [bad.key]
    assert seen.sets == [4, 1, 1, 1, 1]
    assert sorted(scene.statuses(bad.job_id)) == ["running", "succeeded", "succeeded", "succeeded"]


def test_an_image_that_others_lock_holds_up_none_of_its_mates_and_comes_later(
    scene: Scene, publisher: Callable[..., Publisher], seen: Deliveries
) -> None:
    leases, holdings = claim(scene, 3)
    publishing = publisher(holdings)
    with scene.database.begin() as session:
        session.execute(text("SELECT FROM tasks WHERE id = :id FOR UPDATE"), {"id": leases[1].task_id})
        for lease in leases:
            publishing.put(uploaded(lease))
        wait_until(lambda: seen.over == 2, seconds=4)
        assert not publishing.is_held_up
    wait_until(lambda: seen.over == 3, seconds=10)
    assert seen.published == [leases[0], leases[2], leases[1]]
    assert seen.refused == []


def test_an_image_that_others_cancel_meanwhile_is_given_up(
    scene: Scene, publisher: Callable[..., Publisher], seen: Deliveries
) -> None:
    [lease], holdings = claim(scene, 1)
    with scene.database.begin() as session:
        session.execute(text("SELECT FROM tasks FOR UPDATE"))
        publisher(holdings).put(uploaded(lease))
        wait_until(lambda: len(seen.sets) > 1, seconds=10)
        holdings.drop([lease])
        wait_until(lambda: seen.over == 1, seconds=10)
    assert isinstance(seen.failed[lease.key], LeaseLost)


def test_an_image_that_another_attempt_was_faster_with_is_refused_and_its_mates_are_published(
    scene: Scene, publisher: Callable[..., Publisher], seen: Deliveries
) -> None:
    leases, holdings = claim(scene, 3)
    scene.hand_back(leases[1])
    publishing = publisher(holdings, lambda: seen.over == 0)
    for lease in leases:
        publishing.put(uploaded(lease))
    wait_until(lambda: seen.over == 3, seconds=20)
    assert [refused.lease for refused in seen.refused] == [leases[1]]
    assert scene.statuses(leases[0].job_id) == ["succeeded", "queued", "succeeded"]


def test_an_image_whose_lease_is_not_held_any_more_is_neither_published_nor_refused(
    scene: Scene, publisher: Callable[..., Publisher], seen: Deliveries
) -> None:
    leases, holdings = claim(scene, 2)
    holdings.drop([leases[0]])
    publishing = publisher(holdings, lambda: seen.over == 0)
    for lease in leases:
        publishing.put(uploaded(lease))
    wait_until(lambda: seen.over == 2, seconds=20)
    assert seen.published == [leases[1]]
    assert isinstance(seen.failed[leases[0].key], LeaseLost)
    assert seen.refused == []
