"""What people do with a job, and what becomes of it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from farm.db import events
from farm.errors import Conflict, NotFound
from farm.queue import lifecycle, steering
from tests.factories import Scene
from tests.waiting import wait_until


def a_finished_job(scene: Scene) -> int:
    job_id = scene.submit()
    scene.publish(*scene.claim(scene.worker()))
    return job_id


def a_failed_job(scene: Scene) -> int:
    job_id = scene.submit()
    scene.fail(*scene.claim(scene.worker()), is_retryable=False)
    return job_id


class TestCancel:
    def test_cancelling_calls_off_what_is_queued_and_what_is_running(self, scene: Scene) -> None:
        job_id = scene.submit(images_per_prompt=3)
        first, _ = scene.claim(scene.worker(), limit=2)
        scene.publish(first)
        steering.cancel(scene.database, job_id)
        assert scene.statuses(job_id) == ["succeeded", "cancelled", "cancelled"]
        assert scene.job(job_id).status == "cancelled"

    def test_a_cancelled_job_keeps_the_reason(self, scene: Scene) -> None:
        job_id = scene.submit()
        steering.cancel(scene.database, job_id, "the deadline has passed")
        assert scene.job(job_id).reason == "the deadline has passed"
        assert scene.tasks(job_id)[0].reason == "the deadline has passed"

    def test_cancelling_closes_the_running_attempts(self, scene: Scene) -> None:
        job_id = scene.submit()
        scene.claim(scene.worker())
        steering.cancel(scene.database, job_id)
        assert (
            scene.scalar("SELECT count(*) FROM attempts WHERE outcome = 'cancelled' AND ended_at IS NOT NULL") == 1
        )

    def test_a_cancelled_job_is_not_claimed(self, scene: Scene) -> None:
        steering.cancel(scene.database, scene.submit(images_per_prompt=2))
        assert scene.claim(scene.worker()) == ()

    def test_a_paused_job_can_be_cancelled(self, scene: Scene) -> None:
        job_id = scene.submit()
        steering.pause(scene.database, job_id)
        steering.cancel(scene.database, job_id)
        assert scene.job(job_id).status == "cancelled"

    @pytest.mark.parametrize("a_final_job", [a_finished_job, a_failed_job])
    def test_a_final_job_cannot_be_cancelled(self, scene: Scene, a_final_job: Callable[[Scene], int]) -> None:
        job_id = a_final_job(scene)
        before = scene.contents()
        with pytest.raises(Conflict, match=f"Job {job_id} is (succeeded|failed); it cannot be cancelled"):
            steering.cancel(scene.database, job_id)
        assert scene.contents() == before

    def test_cancelling_twice_is_a_conflict(self, scene: Scene) -> None:
        job_id = scene.submit()
        steering.cancel(scene.database, job_id)
        with pytest.raises(Conflict):
            steering.cancel(scene.database, job_id)


@pytest.fixture
def giant(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> int:
    """A job of so many images that it takes long to change them all; some of them failed."""
    monkeypatch.setattr(steering, "_MANY", 2)
    job_id = scene.submit(images_per_prompt=6)
    worker_id = scene.worker()
    for lease in scene.claim(worker_id, limit=3):
        scene.fail(lease, is_retryable=False)
    return job_id


def cancel(scene: Scene, job_id: int) -> None:
    steering.cancel(scene.database, job_id)


def retry(scene: Scene, job_id: int) -> None:
    steering.retry(scene.database, scene.settings, scene.doorbell, job_id)


def is_ready(scene: Scene) -> bool:
    return bool(scene.scalar("SELECT is_ready FROM counters"))


class TestGiantJobs:
    @pytest.mark.parametrize("change", [cancel, retry])
    def test_no_claim_looks_through_a_giant_job_while_its_images_are_changed(
        self, scene: Scene, giant: int, change: Callable[[Scene, int], None]
    ) -> None:
        with ThreadPoolExecutor() as threads:
            with scene.database.begin() as session:
                session.execute(text("SELECT FROM tasks FOR UPDATE"))
                changing = threads.submit(change, scene, giant)
                wait_until(lambda: not is_ready(scene), seconds=8)
            changing.result()
        assert is_ready(scene) == (change is retry)

    def test_a_small_job_is_changed_in_one_transaction(self, scene: Scene) -> None:
        before = scene.submit(images_per_prompt=4), scene.scalar("SELECT not_before FROM counters")
        cancel(scene, before[0])
        assert scene.scalar("SELECT not_before FROM counters") is before[1] is None

    @pytest.mark.parametrize("change", [cancel, retry])
    def test_a_giant_job_goes_on_after_its_change_failed(
        self, scene: Scene, giant: int, change: Callable[[Scene, int], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(lifecycle, "move", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            change(scene, giant)
        monkeypatch.undo()
        assert scene.claim(scene.worker()) == ()
        scene.let_jobs_begin()
        assert scene.claim(scene.worker())

    def test_a_retried_giant_job_waits_for_its_own_time(self, scene: Scene, giant: int) -> None:
        for table in ("jobs", "counters"):
            scene.execute(f"UPDATE {table} SET not_before = '2999-01-01Z'")
        retry(scene, giant)
        assert not is_ready(scene)
        assert scene.scalar("SELECT not_before = '2999-01-01Z' FROM counters")


class TestPauseAndResume:
    def test_the_running_tasks_of_a_paused_job_finish_and_no_others_start(self, scene: Scene) -> None:
        job_id = scene.submit(images_per_prompt=2)
        [lease] = scene.claim(scene.worker(), limit=1)
        steering.pause(scene.database, job_id)
        assert scene.publish(lease)
        assert scene.claim(scene.worker()) == ()
        assert scene.job(job_id).status == "paused"

    def test_a_paused_job_whose_last_image_succeeds_has_succeeded(self, scene: Scene) -> None:
        job_id = scene.submit()
        leases = scene.claim(scene.worker())
        steering.pause(scene.database, job_id)
        scene.publish(*leases)
        assert scene.job(job_id).status == "succeeded"

    def test_a_resumed_job_is_claimed_again(self, scene: Scene) -> None:
        job_id = scene.submit()
        steering.pause(scene.database, job_id)
        steering.resume(scene.database, scene.doorbell, job_id)
        assert len(scene.claim(scene.worker())) == 1
        assert scene.job(job_id).status == "active"

    def test_pausing_twice_is_a_conflict(self, scene: Scene) -> None:
        job_id = scene.submit()
        steering.pause(scene.database, job_id)
        with pytest.raises(Conflict, match="is paused; it cannot be paused"):
            steering.pause(scene.database, job_id)

    def test_an_active_job_cannot_be_resumed(self, scene: Scene) -> None:
        job_id = scene.submit()
        with pytest.raises(Conflict, match="is active; it cannot be resumed"):
            steering.resume(scene.database, scene.doorbell, job_id)

    def test_a_finished_job_cannot_be_paused(self, scene: Scene) -> None:
        job_id = a_finished_job(scene)
        with pytest.raises(Conflict, match="is succeeded; it cannot be paused"):
            steering.pause(scene.database, job_id)

    def test_a_failed_job_cannot_be_resumed(self, scene: Scene) -> None:
        job_id = a_failed_job(scene)
        with pytest.raises(Conflict, match="is failed; it cannot be resumed"):
            steering.resume(scene.database, scene.doorbell, job_id)


class TestRetry:
    def test_retrying_queues_the_failed_tasks_with_fresh_tries(self, scene: Scene) -> None:
        job_id = a_failed_job(scene)
        assert steering.retry(scene.database, scene.settings, scene.doorbell, job_id) == 1
        worker_id = scene.worker()
        assert [scene.fail(*scene.claim(worker_id)) for _ in range(3)] == [True, True, False]

    def test_a_retried_job_is_active_until_it_is_done(self, scene: Scene) -> None:
        job_id = a_failed_job(scene)
        steering.retry(scene.database, scene.settings, scene.doorbell, job_id)
        assert (scene.job(job_id).status, scene.job(job_id).finished_at) == ("active", None)
        scene.publish(*scene.claim(scene.worker()))
        assert scene.job(job_id).status == "succeeded"

    def test_retrying_leaves_the_images_that_succeeded(self, scene: Scene) -> None:
        job_id = scene.submit(images_per_prompt=2)
        first, second = scene.claim(scene.worker())
        scene.publish(first)
        scene.fail(second, is_retryable=False)
        steering.retry(scene.database, scene.settings, scene.doorbell, job_id)
        assert scene.statuses(job_id) == ["succeeded", "queued"]

    def test_failed_images_can_be_retried_while_the_rest_of_the_job_runs(self, scene: Scene) -> None:
        job_id = scene.submit(images_per_prompt=2)
        first, _ = scene.claim(scene.worker())
        scene.fail(first, is_retryable=False)
        steering.retry(scene.database, scene.settings, scene.doorbell, job_id)
        assert scene.statuses(job_id) == ["queued", "running"]
        assert scene.job(job_id).status == "active"

    def test_a_job_that_failed_while_paused_is_claimed_again_after_a_retry(self, scene: Scene) -> None:
        job_id = scene.submit()
        leases = scene.claim(scene.worker())
        steering.pause(scene.database, job_id)
        scene.fail(*leases, is_retryable=False)
        steering.retry(scene.database, scene.settings, scene.doorbell, job_id)
        assert len(scene.claim(scene.worker())) == 1

    def test_the_failed_images_of_a_cancelled_job_cannot_be_retried(self, scene: Scene) -> None:
        job_id = scene.submit(images_per_prompt=2)
        scene.fail(*scene.claim(scene.worker(), limit=1), is_retryable=False)
        steering.cancel(scene.database, job_id)
        with pytest.raises(Conflict, match="is cancelled; it cannot be retried"):
            steering.retry(scene.database, scene.settings, scene.doorbell, job_id)
        assert scene.statuses(job_id) == ["failed", "cancelled"]

    def test_a_job_without_failed_images_cannot_be_retried(self, scene: Scene) -> None:
        job_id = a_finished_job(scene)
        with pytest.raises(Conflict, match="no failed images"):
            steering.retry(scene.database, scene.settings, scene.doorbell, job_id)


class TestPriority:
    def test_a_job_moved_up_goes_first(self, scene: Scene) -> None:
        scene.submit(width=768)
        second = scene.submit()
        steering.set_priority(scene.database, second, 90)
        assert [lease.job_id for lease in scene.claim(scene.worker())] == [second]
        assert scene.job(second).priority == 90

    def test_a_finished_job_has_no_use_for_a_priority(self, scene: Scene) -> None:
        job_id = a_finished_job(scene)
        with pytest.raises(Conflict):
            steering.set_priority(scene.database, job_id, 90)


@pytest.mark.parametrize(
    "act",
    [
        lambda scene: steering.cancel(scene.database, 404),
        lambda scene: steering.pause(scene.database, 404),
        lambda scene: steering.resume(scene.database, scene.doorbell, 404),
        lambda scene: steering.retry(scene.database, scene.settings, scene.doorbell, 404),
        lambda scene: steering.set_priority(scene.database, 404, 1),
    ],
    ids=["cancel", "pause", "resume", "retry", "set_priority"],
)
def test_an_unknown_job_is_not_found(scene: Scene, act: Callable[[Scene], object]) -> None:
    with pytest.raises(NotFound, match="There is no job 404"):
        act(scene)


def test_the_events_of_a_job_are_listed_in_order(scene: Scene) -> None:
    job_id = scene.submit()
    steering.pause(scene.database, job_id)
    steering.resume(scene.database, scene.doorbell, job_id)
    scene.fail(*scene.claim(scene.worker()), "torn weights", is_retryable=False)
    with scene.database.begin() as session:
        told = [event.kind for event in events.of_job(session, job_id)]
    assert told == ["job.submitted", "job.paused", "job.active", "job.failed", "task.fail"]


def test_the_counters_equal_a_recount_after_every_kind_of_change(scene: Scene) -> None:
    job_id = scene.submit(prompts=[{"prompt": "a"}, {"prompt": "b", "width": 768}], images_per_prompt=4)
    worker_id = scene.worker()
    published, failed, repeated, _ = scene.claim(worker_id)
    lost, handed_back, _, _ = scene.claim(worker_id)
    scene.publish(published)
    scene.fail(failed, is_retryable=False)
    scene.fail(repeated)
    scene.hand_back(handed_back)
    scene.let_leases_end(lost)
    scene.expire()
    steering.retry(scene.database, scene.settings, scene.doorbell, job_id)
    scene.release_dead(worker_id)
    assert scene.counters() == scene.recount()
    steering.cancel(scene.database, job_id)
    assert scene.counters() == scene.recount()


HAPPENINGS: dict[str, Callable[[Scene, int, int], object]] = {
    "publish": lambda scene, job_id, worker_id: [scene.publish(x) for x in scene.claim(worker_id, limit=2)],
    "fail": lambda scene, job_id, worker_id: [scene.fail(x) for x in scene.claim(worker_id, limit=2)],
    "fail for good": lambda scene, job_id, worker_id: [
        scene.fail(x, is_retryable=False) for x in scene.claim(worker_id, limit=1)
    ],
    "hand back": lambda scene, job_id, worker_id: scene.hand_back(*scene.claim(worker_id)),
    "lose": lambda scene, job_id, worker_id: scene.lose(worker_id),
    "die": lambda scene, job_id, worker_id: scene.claim(worker_id, limit=3) and scene.release_dead(worker_id),
    "claim": lambda scene, job_id, worker_id: scene.claim(worker_id, limit=1),
    "pause": lambda scene, job_id, worker_id: steering.pause(scene.database, job_id),
    "resume": lambda scene, job_id, worker_id: steering.resume(scene.database, scene.doorbell, job_id),
    "retry": lambda scene, job_id, worker_id: steering.retry(
        scene.database, scene.settings, scene.doorbell, job_id
    ),
    "cancel": lambda scene, job_id, worker_id: steering.cancel(scene.database, job_id),
}


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(happenings=st.lists(st.sampled_from(list(HAPPENINGS)), min_size=3, max_size=12))
def test_the_counters_stay_right_and_a_job_ends_with_its_tasks_in_any_history(
    scene: Scene, happenings: list[str]
) -> None:
    job_id = scene.submit(prompts=[{"prompt": "a"}, {"prompt": "b", "width": 768}], images_per_prompt=2)
    worker_id = scene.worker()
    for happening in happenings:
        _unless_refused(HAPPENINGS[happening], scene, job_id, worker_id)
    assert scene.counters() == scene.recount()
    has_open_tasks = bool({"queued", "running"} & set(scene.statuses(job_id)))
    assert (scene.job(job_id).finished_at is None) == has_open_tasks


def _unless_refused(happen: Callable[[Scene, int, int], object], *given: object) -> None:
    try:
        happen(*given)  # type: ignore[arg-type]
    except Conflict:
        return
