"""What is past its time is deleted, with its objects, and nothing else is."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text

from farm.config import Settings
from farm.errors import Conflict, StoreError
from farm.queue import steering
from farm.queue.claimed import Lease
from farm.upkeep import retention
from farm.upkeep.cleaner import Cleaner
from tests.factories import Scene, an_object
from tests.fakes import MemoryStore


class RefusingStore(MemoryStore):
    """A store that deletes nothing until it is told to."""

    is_refusing = True

    def delete(self, key: str) -> None:
        if self.is_refusing:
            raise StoreError("The bucket cannot be reached.")
        super().delete(key)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def clean(scene: Scene, store: MemoryStore) -> Callable[..., None]:
    """One round of a cleaner with these settings."""

    def make_round(**settings: int) -> None:
        Cleaner(scene.settings.model_copy(update=settings), scene.database, store).make_round()

    return make_round


def publish(scene: Scene, store: MemoryStore, lease: Lease) -> None:
    for role in ("result", "thumbnail"):
        store.put(an_object(role, lease).key, b"pixels", "image/png")
    assert scene.publish(lease)


def a_finished_job(scene: Scene, store: MemoryStore, days_ago: int) -> int:
    """A job of two images, one of which took two tries, that ended so many days ago."""
    job_id = scene.submit(images_per_prompt=2)
    worker_id = scene.worker()
    scene.lose(worker_id)
    for lease in (*scene.claim(worker_id), *scene.claim(worker_id)):
        publish(scene, store, lease)
    scene.let_days_pass(days_ago)
    return job_id


def count(scene: Scene, table: str, where: str = "true") -> int:
    return int(scene.scalar(f"SELECT count(*) FROM {table} WHERE {where}"))


class TestEvents:
    def test_old_events_are_deleted_and_new_ones_are_kept(self, scene: Scene, clean: Callable[..., None]) -> None:
        scene.submit()
        scene.let_days_pass(31)
        young = scene.submit()
        clean(keep_events_days=30)
        assert scene.scalar("SELECT array_agg(job_id) FROM events WHERE job_id IS NOT NULL") == [young]

    def test_zero_days_keep_events_for_ever(self, scene: Scene, clean: Callable[..., None]) -> None:
        scene.submit()
        scene.let_days_pass(10_000)
        clean(keep_events_days=0)
        assert count(scene, "events", "kind = 'job.submitted'") == 1

    def test_old_events_are_deleted_in_small_batches_until_none_is_left(self, scene: Scene) -> None:
        for _ in range(3):
            scene.submit()
        scene.let_days_pass(31)
        with scene.database.begin() as session:
            assert [retention.prune_events(session, 30, limit=2) for _ in range(3)] == [2, 1, 0]

    def test_events_that_another_keeper_is_deleting_are_passed_over(self, scene: Scene) -> None:
        scene.submit()
        scene.submit()
        scene.let_days_pass(31)
        with scene.database.begin() as other, scene.database.begin() as session:
            assert retention.prune_events(other, 30, limit=1) == 1
            session.execute(text("SET LOCAL lock_timeout = '200ms'"))
            assert retention.prune_events(session, 30) == 1


class TestAttempts:
    def test_old_unsuccessful_attempts_of_finished_jobs_are_deleted(
        self, scene: Scene, store: MemoryStore, clean: Callable[..., None]
    ) -> None:
        a_finished_job(scene, store, days_ago=31)
        clean(keep_attempts_days=30)
        assert scene.scalar("SELECT array_agg(DISTINCT outcome) FROM attempts") == ["succeeded"]

    def test_attempts_that_results_name_are_kept(
        self, scene: Scene, store: MemoryStore, clean: Callable[..., None]
    ) -> None:
        a_finished_job(scene, store, days_ago=10_000)
        clean(keep_attempts_days=1)
        assert count(scene, "results JOIN attempts a ON a.task_id = results.task_id AND number = attempt") == 2

    @pytest.mark.parametrize("days", [0, 32])
    def test_younger_attempts_are_kept(
        self, scene: Scene, store: MemoryStore, clean: Callable[..., None], days: int
    ) -> None:
        a_finished_job(scene, store, days_ago=31)
        clean(keep_attempts_days=days)
        assert count(scene, "attempts", "outcome = 'lost'") == 1

    def test_attempts_of_a_job_that_goes_on_are_kept(self, scene: Scene, clean: Callable[..., None]) -> None:
        scene.submit()
        scene.lose(scene.worker())
        scene.let_days_pass(31)
        clean(keep_attempts_days=30)
        assert count(scene, "attempts") == 1

    def test_a_task_whose_attempts_are_gone_can_be_retried(self, scene: Scene, clean: Callable[..., None]) -> None:
        job_id = scene.submit()
        worker_id = scene.worker()
        scene.fail(*scene.claim(worker_id), is_retryable=False)
        scene.let_days_pass(31)
        clean(keep_attempts_days=30)
        steering.retry(scene.database, scene.settings, scene.doorbell, job_id)
        [lease] = scene.claim(worker_id)
        assert (lease.attempt, scene.publish(lease)) == (2, True)


class TestJobs:
    def test_an_old_finished_job_is_deleted_with_all_it_has(
        self, scene: Scene, store: MemoryStore, clean: Callable[..., None]
    ) -> None:
        a_finished_job(scene, store, days_ago=91)
        clean(keep_jobs_days=90)
        tables = ("jobs", "tasks", "attempts", "results", "artifacts", "counters", "discards")
        assert {table: count(scene, table) for table in tables} == dict.fromkeys(tables, 0)
        assert store.objects == {}

    def test_the_deletion_of_a_job_is_an_event(
        self, scene: Scene, store: MemoryStore, clean: Callable[..., None]
    ) -> None:
        job_id = a_finished_job(scene, store, days_ago=91)
        clean(keep_jobs_days=90)
        reason = scene.scalar("SELECT reason FROM events WHERE kind = 'job.deleted'")
        assert reason == f"job {job_id} ended more than 90 days ago"

    @pytest.mark.parametrize("days", [0, 92])
    def test_younger_jobs_are_kept(
        self, scene: Scene, store: MemoryStore, clean: Callable[..., None], days: int
    ) -> None:
        a_finished_job(scene, store, days_ago=91)
        clean(keep_jobs_days=days)
        assert (count(scene, "jobs"), count(scene, "results"), len(store.objects)) == (1, 2, 4)

    def test_jobs_are_kept_for_ever_by_default(self, settings: Settings) -> None:
        assert settings.keep_jobs_days == 0

    @pytest.mark.parametrize("status", ["active", "paused"])
    def test_a_job_that_goes_on_is_kept_however_old(
        self, scene: Scene, clean: Callable[..., None], status: str
    ) -> None:
        job_id = scene.submit()
        if status == "paused":
            steering.pause(scene.database, job_id)
        scene.let_days_pass(10_000)
        clean(keep_jobs_days=1)
        assert scene.statuses(job_id) == ["queued"]

    def test_the_objects_of_other_jobs_stay(
        self, scene: Scene, store: MemoryStore, clean: Callable[..., None]
    ) -> None:
        a_finished_job(scene, store, days_ago=91)
        young = a_finished_job(scene, store, days_ago=0)
        clean(keep_jobs_days=90)
        assert scene.statuses(young) == ["succeeded", "succeeded"]
        assert set(store.objects) == set(scene.scalar("SELECT array_agg(key) FROM artifacts"))

    def test_objects_that_the_store_would_not_delete_are_deleted_later(self, scene: Scene) -> None:
        store = RefusingStore()
        cleaner = Cleaner(scene.settings.model_copy(update={"keep_jobs_days": 90}), scene.database, store)
        a_finished_job(scene, store, days_ago=91)
        cleaner.make_round()
        assert (count(scene, "jobs"), count(scene, "discards"), len(store.objects)) == (0, 4, 4)
        store.is_refusing = False
        cleaner.make_round()
        assert (count(scene, "discards"), store.objects) == (0, {})

    def test_a_crash_after_the_store_deleted_an_object_is_made_good(
        self, scene: Scene, store: MemoryStore, clean: Callable[..., None]
    ) -> None:
        a_finished_job(scene, store, days_ago=91)
        with scene.database.begin() as session:
            [job_id] = retention.old_jobs(session, 90)
            assert retention.delete_job(session, job_id, 90)
        store.delete(min(store.objects))
        clean()
        assert (count(scene, "discards"), store.objects) == (0, {})

    def test_a_job_that_is_retried_after_it_was_selected_is_not_deleted(self, scene: Scene) -> None:
        job_id = scene.submit()
        scene.fail(*scene.claim(scene.worker()), is_retryable=False)
        scene.let_days_pass(91)
        with scene.database.begin() as session:
            assert retention.old_jobs(session, 90) == [job_id]
        steering.retry(scene.database, scene.settings, scene.doorbell, job_id)
        with scene.database.begin() as session:
            assert not retention.delete_job(session, job_id, 90)
        assert scene.statuses(job_id) == ["queued"]

    def test_a_retry_and_a_deletion_at_once_do_not_deadlock(self, scene: Scene) -> None:
        job_id = scene.submit()
        scene.fail(*scene.claim(scene.worker()), is_retryable=False)
        scene.let_days_pass(91)
        with ThreadPoolExecutor() as threads:
            with scene.database.begin() as session:
                session.execute(text("SELECT FROM counters FOR UPDATE"))
                retry = threads.submit(steering.retry, scene.database, scene.settings, scene.doorbell, job_id)
                scene.wait_for_blocked()
                deletion = threads.submit(delete_job, scene, job_id)
                scene.wait_for_blocked(2)
            assert (retry.result(), deletion.result()) == (1, False)

    def test_a_retry_that_comes_during_a_deletion_finds_nothing(self, scene: Scene) -> None:
        job_id = scene.submit()
        scene.fail(*scene.claim(scene.worker()), is_retryable=False)
        scene.let_days_pass(91)
        with ThreadPoolExecutor() as threads:
            with scene.database.begin() as session:
                assert retention.delete_job(session, job_id, 90)
                retry = threads.submit(steering.retry, scene.database, scene.settings, scene.doorbell, job_id)
                scene.wait_for_blocked()
            with pytest.raises(Conflict):
                retry.result()


def delete_job(scene: Scene, job_id: int) -> bool:
    with scene.database.begin() as session:
        return retention.delete_job(session, job_id, 90)
