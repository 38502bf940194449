"""Images that were rendered together become results in one transaction, each behind a fence of its own."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import DataError

from farm.queue import endings, steering
from farm.queue.endings import Published
from tests.factories import Scene, a_finished


def test_a_batch_is_published_together_in_one_transaction(scene: Scene) -> None:
    job_id = scene.submit(images_per_prompt=4)
    leases = scene.claim(scene.worker())
    assert scene.publish_all(*leases) == {lease.key for lease in leases}
    assert scene.statuses(job_id) == ["succeeded"] * 4
    assert scene.scalar("SELECT count(DISTINCT xmin::text) FROM results") == 1
    assert scene.job(job_id).status == "succeeded"
    assert scene.counters() == scene.recount()


def test_every_image_gets_its_own_objects(scene: Scene) -> None:
    scene.submit(images_per_prompt=3)
    leases = scene.claim(scene.worker())
    scene.publish_all(*reversed(leases))
    keys = "SELECT key FROM results JOIN artifacts ON id = {} ORDER BY task_id"
    assert scene.column(keys.format("image_id")) == [f"result/{x.task_id}-1.png" for x in leases]
    assert scene.column(keys.format("thumbnail_id")) == [f"thumbnail/{x.task_id}-1.png" for x in leases]


def test_each_attempt_is_closed_with_its_own_figures(scene: Scene) -> None:
    scene.submit(images_per_prompt=2)
    first, second = scene.claim(scene.worker())
    with scene.database.begin() as session:
        finished = [
            a_finished(first, gpu_seconds=1.5, timings={"render": 3.0}, relief=["batch halved"]),
            a_finished(second, gpu_seconds=2.5, timings={"render": 4.0}),
        ]
        endings.publish_all(session, finished)
    with scene.database.begin() as session:
        rows = session.connection().exec_driver_sql(
            "SELECT gpu_seconds, timings ->> 'render', relief FROM attempts ORDER BY task_id"
        )
        assert [tuple(row) for row in rows] == [(1.5, "3.0", ["batch halved"]), (2.5, "4.0", None)]


def test_an_image_whose_lease_was_lost_keeps_none_of_its_mates_from_being_published(scene: Scene) -> None:
    job_id = scene.submit(images_per_prompt=3)
    leases = scene.claim(scene.worker())
    scene.hand_back(leases[1])
    assert scene.publish_all(*leases) == {leases[0].key, leases[2].key}
    assert scene.statuses(job_id) == ["succeeded", "queued", "succeeded"]
    assert scene.scalar("SELECT count(*) FROM artifacts") == 4


def test_images_of_a_cancelled_job_are_not_published_and_those_of_its_mates_are(scene: Scene) -> None:
    cancelled, kept = scene.submit(), scene.submit()
    leases = scene.claim(scene.worker())
    steering.cancel(scene.database, cancelled)
    assert scene.publish_all(*leases) == {lease.key for lease in leases if lease.job_id == kept}
    assert [scene.job(job_id).status for job_id in (cancelled, kept)] == ["cancelled", "succeeded"]


def test_repeating_a_publish_of_several_is_harmless(scene: Scene) -> None:
    """The answer to the COMMIT was lost; one of them was still to come."""
    scene.submit(images_per_prompt=3)
    leases = scene.claim(scene.worker())
    scene.publish_all(*leases[:2])
    assert scene.publish_all(*leases) == {lease.key for lease in leases}
    before = scene.contents()
    assert scene.publish_all(*leases) == {lease.key for lease in leases}
    assert scene.contents() == before


def test_a_stale_attempt_among_several_is_not_published(scene: Scene) -> None:
    scene.submit(images_per_prompt=2)
    worker_id = scene.worker()
    stale, other = scene.claim(worker_id)
    scene.hand_back(stale)
    [current] = scene.claim(worker_id)
    assert scene.publish_all(current) == {current.key}
    assert scene.publish_all(stale, other) == {other.key}


def test_two_publishes_of_the_same_batch_at_once_make_one_result_an_image(scene: Scene) -> None:
    scene.submit(images_per_prompt=4)
    leases = scene.claim(scene.worker())
    with ThreadPoolExecutor(2) as threads:
        published = list(threads.map(lambda held: scene.publish_all(*held), [leases, leases[::-1]]))
    assert published == [{lease.key for lease in leases}] * 2
    assert scene.scalar("SELECT count(*) FROM results") == 4
    assert scene.counters() == scene.recount()


def test_an_image_that_others_lock_is_left_and_its_mates_are_published(scene: Scene) -> None:
    """A cancel of a giant job holds its tasks for long."""
    locked, free = scene.submit(), scene.submit()
    leases = scene.claim(scene.worker())
    with scene.database.begin() as other, scene.database.begin() as session:
        other.execute(text("SELECT FROM tasks WHERE job_id = :id FOR UPDATE"), {"id": locked})
        done = endings.publish_all(session, [a_finished(lease) for lease in leases])
    assert done.published == {lease.key for lease in leases if lease.job_id == free}
    assert done.left == {lease.key for lease in leases if lease.job_id == locked}
    assert [scene.job(job_id).status for job_id in (locked, free)] == ["active", "succeeded"]


def test_an_image_that_is_being_published_already_is_left_and_then_found_published(scene: Scene) -> None:
    """The answer to the COMMIT is late: were the image refused, the objects of its result would be deleted."""
    scene.submit()
    [lease] = scene.claim(scene.worker())
    with scene.database.begin() as first:
        endings.publish_all(first, [a_finished(lease)])
        with scene.database.begin() as second:
            assert endings.publish_all(second, [a_finished(lease)]) == Published(set(), {lease.key})
    with scene.database.begin() as session:
        assert endings.publish_all(session, [a_finished(lease)]) == Published({lease.key}, set())


def test_a_set_with_an_image_that_cannot_be_stored_changes_nothing(scene: Scene) -> None:
    scene.submit(images_per_prompt=2)
    first, second = scene.claim(scene.worker())
    before = scene.contents()
    with pytest.raises(DataError), scene.database.begin() as session:
        endings.publish_all(session, [a_finished(first), a_finished(second, provenance={"what": "\0"})])
    assert scene.contents() == before


def test_a_batch_takes_as_many_statements_as_one_image(scene: Scene) -> None:
    scene.submit(images_per_prompt=200)
    leases = scene.claim(scene.worker(), limit=9)
    statements: list[str] = []
    event.listen(scene.database.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    scene.publish_all(leases[0])
    of_one = len(statements)
    scene.publish_all(*leases[1:])
    assert len(statements) - of_one == of_one <= 5
