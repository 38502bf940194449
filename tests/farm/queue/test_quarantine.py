"""When the farm by itself takes a worker out of service, or keeps it from a checkpoint."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from farm.queue import endings, steering
from farm.queue.workers.verdicts import Ended, against_pair, against_worker
from tests.factories import Scene, a_checkpoint, a_user

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
OUT = ("host/cpu", None)
KEPT = ("host/cpu", "demo")
BOTH = ("ana", "mia")


@pytest.fixture(autouse=True)
def _owners(scene: Scene) -> None:
    for name in BOTH:
        a_user(scene.database, name)


def entry(
    batch: int = 0,
    *,
    task: int = 1,
    owner: int = 1,
    checkpoint: int = 1,
    outcome: str = "failed",
    elsewhere: tuple[str, ...] = (),
) -> Ended:
    """An attempt of a batch; the higher its number, the longer it is ago."""
    started = NOON - timedelta(minutes=batch)
    return Ended((1, started), task, owner, checkpoint, outcome, f"error {batch}", frozenset(elsewhere))


def die(scene: Scene, worker_id: int, *, owner: str = "ana", images: int = 1) -> None:
    """A worker takes a job of so many images and dies of it, and the owner gives it up."""
    job_id = scene.submit(owner=owner, images_per_prompt=images)
    scene.claim(worker_id)
    scene.release_dead(worker_id, "killed by SIGKILL")
    steering.cancel(scene.database, job_id)


class TestRules:
    def test_five_bad_batches_of_two_owners_speak_against_a_worker(self) -> None:
        history = [entry(batch, owner=batch % 2) for batch in range(5)]
        assert against_worker(history) == "its last 5 batches failed, for 2 owners. The last error: error 0"

    def test_four_bad_batches_do_not_speak_against_a_worker(self) -> None:
        assert against_worker([entry(batch, owner=batch % 2) for batch in range(4)]) is None

    def test_a_batch_counts_once_however_many_images_it_had(self) -> None:
        assert against_worker([entry(task=task, owner=task % 2) for task in range(16)]) is None

    def test_bad_jobs_of_one_owner_never_speak_against_a_worker(self) -> None:
        assert against_worker([entry(batch, task=batch) for batch in range(100)]) is None

    def test_a_success_in_between_clears_the_worker(self) -> None:
        history = [entry(batch, owner=batch % 2) for batch in range(9)]
        history[4] = entry(4, outcome="succeeded")
        assert against_worker(history) is None

    def test_failures_that_other_workers_share_do_not_speak_against_a_worker(self) -> None:
        history = [entry(batch, owner=batch % 2, checkpoint=7) for batch in range(9)]
        assert against_worker(history, frozenset({7})) is None

    def test_a_success_clears_the_worker_whatever_the_checkpoint(self) -> None:
        history = [entry(batch, owner=batch % 2) for batch in range(9)]
        history[4] = entry(4, outcome="succeeded", checkpoint=7)
        assert against_worker(history, frozenset({7})) is None

    def test_bad_jobs_of_one_owner_that_others_rendered_speak_against_a_worker(self) -> None:
        history = [entry(batch, task=batch, elsewhere=("failed", "succeeded")) for batch in range(5)]
        assert against_worker(history) == (
            "its last 5 batches failed, and other workers rendered them. The last error: error 0"
        )

    def test_bad_jobs_that_others_failed_too_never_speak_against_a_worker(self) -> None:
        history = [entry(batch, task=batch, owner=batch % 2, elsewhere=("failed",)) for batch in range(9)]
        assert against_worker(history) is None

    def test_three_bad_batches_of_two_tasks_and_owners_speak_against_a_pair(self) -> None:
        history = [entry(0, task=1), entry(1, task=1), entry(2, task=2, owner=2)]
        assert against_pair(history, 1) == (
            "with this checkpoint its last 3 batches failed, for 2 owners. The last error: error 0"
        )

    def test_bad_jobs_of_one_owner_never_speak_against_a_pair(self) -> None:
        assert against_pair([entry(batch, task=batch) for batch in range(100)], 1) is None

    def test_bad_jobs_of_one_owner_that_others_rendered_speak_against_a_pair(self) -> None:
        history = [entry(batch, task=batch, elsewhere=("succeeded",)) for batch in range(3)]
        assert against_pair(history, 1) == (
            "with this checkpoint its last 3 batches failed, and other workers rendered them. "
            "The last error: error 0"
        )

    def test_bad_jobs_that_others_failed_too_never_speak_against_a_pair(self) -> None:
        history = [entry(batch, task=batch, owner=batch % 2, elsewhere=("lost",)) for batch in range(9)]
        assert against_pair(history, 1) is None

    def test_one_bad_task_does_not_speak_against_a_pair(self) -> None:
        assert against_pair([entry(batch, owner=batch % 2) for batch in range(9)], 1) is None

    def test_a_pair_is_judged_by_its_own_checkpoint(self) -> None:
        history = [entry(batch, task=batch, owner=batch % 2) for batch in range(3)]
        history.insert(1, entry(5, checkpoint=2, outcome="succeeded"))
        assert against_pair(history, 1)
        assert against_pair(history, 2) is None

    def test_one_bad_task_of_a_batch_does_not_speak_against_the_worker(self) -> None:
        """Its batch mates are rendered elsewhere, since they were innocent."""
        history = [
            entry(batch, task=batch * 4 + place, owner=batch % 2, elsewhere=("succeeded" if place else "failed",))
            for batch in range(9)
            for place in range(4)
        ]
        assert against_worker(history) is None
        assert against_pair(history, 1) is None

    def test_a_batch_with_an_excused_task_does_not_count(self) -> None:
        """Its guilty task may be the one that was retried by hand; the others are rendered elsewhere."""
        history = [entry(batch, task=batch, elsewhere=("succeeded",)) for batch in range(9)]
        excused = [replace(entry(batch, task=100 + batch), is_excused=True) for batch in range(9)]
        assert against_worker([*history, *excused]) is None

    def test_a_batch_of_several_owners_does_not_count_for_each_of_them(self) -> None:
        """One owner's bad image may have failed those of the others."""
        mixed = [entry(0, task=1, owner=1), entry(0, task=2, owner=2)]
        history = [*mixed, *(entry(batch, task=batch + 2, owner=1) for batch in range(1, 9))]
        assert against_worker(history) is None
        assert against_pair(history, 1) is None

    def test_a_long_error_is_cut(self) -> None:
        long = Ended((1, NOON), 1, 1, 1, "failed", "x" * 10_000)
        told = against_worker([long, *(entry(batch, owner=2) for batch in range(1, 5))])
        assert told is not None
        assert len(told) < 500


class TestWorker:
    def test_a_worker_that_fails_everybodys_work_is_taken_out_of_service(self, scene: Scene) -> None:
        worker_id = scene.worker()
        scene.break_down(worker_id, batches=4, owners=BOTH)
        assert OUT not in scene.excluded()
        scene.break_down(worker_id, batches=1)
        assert OUT in scene.excluded()
        waiting = scene.submit()
        assert scene.claim(worker_id) == ()
        assert scene.statuses(waiting) == ["queued"]

    def test_the_last_error_of_a_worker_is_quoted_in_the_reason_for_its_exclusion(self, scene: Scene) -> None:
        scene.break_down(scene.worker(), batches=5, owners=BOTH)
        reason = scene.scalar("SELECT reason FROM exclusions WHERE checkpoint_id IS NULL")
        assert reason == "its last 5 batches failed, for 2 owners. The last error: the device broke"

    def test_a_worker_is_known_by_its_name_across_restarts(self, scene: Scene) -> None:
        for number in range(5):
            die(scene, scene.worker(), owner=BOTH[number % 2])
        assert OUT in scene.excluded()

    def test_one_death_is_one_death_however_many_images_it_took_along(self, scene: Scene) -> None:
        worker_id = scene.worker()
        scene.submit(owner="ana", images_per_prompt=4)
        die(scene, worker_id, owner="mia", images=4)
        assert scene.scalar("SELECT count(*) FROM attempts WHERE outcome = 'lost'") == 8
        assert scene.excluded() == []

    def test_the_bad_jobs_of_one_owner_take_no_worker_out_of_service(self, scene: Scene) -> None:
        scene.break_down(scene.worker(), batches=8, owners=["ana"])
        assert OUT not in scene.excluded()

    def test_a_success_in_between_keeps_a_worker_in_service(self, scene: Scene) -> None:
        worker_id = scene.worker()
        scene.break_down(worker_id, batches=4, owners=BOTH)
        scene.submit()
        scene.publish(*scene.claim(worker_id))
        scene.break_down(worker_id, batches=4, owners=BOTH)
        assert OUT not in scene.excluded()

    @pytest.mark.parametrize("is_cancelled", [True, False], ids=["cancelled", "handed back"])
    def test_tasks_handed_back_or_cancelled_count_neither_way(self, scene: Scene, is_cancelled: bool) -> None:
        worker_id = scene.worker()
        scene.break_down(worker_id, batches=3, owners=BOTH)
        for _ in range(3):
            job_id = scene.submit()
            leases = scene.claim(worker_id)
            if not is_cancelled:
                scene.hand_back(*leases)
            steering.cancel(scene.database, job_id)
        scene.break_down(worker_id, batches=1)
        assert OUT not in scene.excluded()
        scene.break_down(worker_id, batches=1)
        assert OUT in scene.excluded()

    def test_a_worker_that_is_simply_gone_is_not_to_blame(self, scene: Scene) -> None:
        for number in range(6):
            scene.submit(owner=BOTH[number % 2])
            gone = scene.worker()
            scene.lose(gone)
        scene.break_down(scene.worker(), batches=1)
        assert scene.excluded() == []

    def test_a_worker_that_lets_its_leases_end_and_lives_on_is_to_blame(self, scene: Scene) -> None:
        worker_id = scene.worker()
        for number in range(4):
            job_id = scene.submit(owner=BOTH[number % 2])
            scene.lose(worker_id)
            steering.cancel(scene.database, job_id)
            scene.execute("UPDATE attempts SET ended_at = ended_at - interval '2 minutes' WHERE outcome = 'lost'")
        scene.scalar("UPDATE workers SET last_seen_at = clock_timestamp() RETURNING id")
        scene.break_down(worker_id, batches=1)
        assert OUT in scene.excluded()

    def test_a_broken_checkpoint_takes_no_farm_out_of_service(self, scene: Scene) -> None:
        """Every worker fails it, for everybody: it is put down to the checkpoint, and its jobs end failed."""
        workers = [scene.worker(str(number)) for number in range(3)]
        job_ids = [scene.submit(owner=owner, images_per_prompt=4) for owner in BOTH]
        for _ in range(24):
            for worker_id in workers:
                for lease in scene.claim(worker_id, limit=1):
                    scene.fail(lease, "its weights are torn")
        assert [scene.job(job_id).status for job_id in job_ids] == ["failed", "failed"]
        assert OUT not in scene.excluded()

    def test_a_restored_worker_that_fails_again_is_out_again(self, scene: Scene) -> None:
        worker_id = scene.worker()
        scene.break_down(worker_id, batches=5, owners=BOTH)
        scene.restore()
        scene.break_down(worker_id, batches=1)
        assert OUT in scene.excluded()

    def test_a_failure_reported_after_its_lease_was_lost_does_not_count(self, scene: Scene) -> None:
        worker_id = scene.worker()
        scene.break_down(worker_id, batches=5, owners=BOTH)
        scene.restore()
        scene.submit()
        [stale] = scene.lose(worker_id)
        scene.fail(stale)
        assert scene.excluded() == []

    def test_one_crash_is_one_crash_however_many_batches_were_open(self, scene: Scene) -> None:
        dying, other = scene.worker(), scene.worker("1")
        for _ in range(2):
            for number, owner in enumerate(("ana", "mia", "ana")):
                scene.submit(owner=owner, width=512 + 64 * number)
                scene.claim(dying)
            scene.release_dead(dying)
            for _ in range(3):
                scene.publish(*scene.claim(other))
        assert scene.excluded() == []

    def test_failures_before_a_retry_by_hand_speak_against_no_worker(self, scene: Scene) -> None:
        job_id = scene.submit(images_per_prompt=6)
        failing, other = scene.worker(), scene.worker("1")
        for _ in range(6):
            scene.fail(*scene.claim(failing, limit=1), error="the LoRA is not in the store", is_retryable=False)
        steering.retry(scene.database, scene.settings, scene.doorbell, job_id)
        while leases := scene.claim(other):
            for lease in leases:
                scene.publish(lease)
        assert scene.job(job_id).status == "succeeded"
        assert scene.excluded() == []


class TestPair:
    def test_a_worker_is_kept_from_a_checkpoint_that_it_keeps_failing(self, scene: Scene) -> None:
        worker_id, other = scene.worker(), scene.worker("1")
        scene.break_down(worker_id, batches=3, owners=BOTH)
        assert scene.excluded() == [KEPT]
        scene.submit()
        assert scene.claim(worker_id) == ()
        assert len(scene.claim(other)) == 1

    def test_the_failing_job_of_one_owner_keeps_no_worker_from_the_checkpoint_of_others(self, scene: Scene) -> None:
        scene.submit(owner="ana", images_per_prompt=9)
        workers = [scene.worker(str(device)) for device in range(8)]
        for _ in range(9 * 3):
            for worker_id in workers:
                for lease in scene.claim(worker_id, limit=1):
                    scene.fail(lease, "the prompt breaks it")
        scene.submit(owner="mia", images_per_prompt=4000)
        assert scene.excluded() == []
        assert all(scene.claim(worker_id) for worker_id in workers)

    def test_a_broken_worker_is_found_on_a_farm_with_one_owner(self, scene: Scene) -> None:
        scene.submit(images_per_prompt=12)
        broken, sound = scene.worker(), scene.worker("1")
        for _ in range(12):
            for lease in scene.claim(broken, limit=1):
                scene.fail(lease, "its memory has a fault")
            for lease in scene.claim(sound, limit=1):
                scene.publish(lease)
        assert KEPT in scene.excluded()

    def test_one_bad_task_keeps_no_worker_from_its_checkpoint(self, scene: Scene) -> None:
        scene.submit()
        worker_id = scene.worker()
        for _ in range(3):
            scene.fail(*scene.claim(worker_id))
        assert scene.excluded() == []

    def test_deaths_count_as_failures_do(self, scene: Scene) -> None:
        for owner in ("ana", "mia", "ana"):
            assert scene.excluded() == []
            die(scene, scene.worker(), owner=owner)
        assert scene.excluded() == [KEPT]

    def test_another_checkpoint_is_rendered_as_before(self, scene: Scene) -> None:
        worker_id, _ = scene.worker(), scene.worker("1")
        scene.break_down(worker_id, batches=3)
        a_checkpoint(scene.database, "other", sha256="c" * 64)
        scene.submit(checkpoint="other")
        assert len(scene.claim(worker_id)) == 1

    def test_a_failure_with_another_checkpoint_does_not_renew_a_lifted_exclusion(self, scene: Scene) -> None:
        worker_id = scene.worker()
        scene.break_down(worker_id, batches=3, owners=BOTH)
        scene.restore("host/cpu", "demo")
        a_checkpoint(scene.database, "other", sha256="c" * 64)
        scene.submit(checkpoint="other")
        scene.fail(*scene.claim(worker_id))
        assert scene.excluded() == []

    def test_a_checkpoint_that_fails_everywhere_fails_its_jobs(self, scene: Scene) -> None:
        worker_id = scene.worker()
        job_id = scene.submit(images_per_prompt=4)
        scene.avoid("host/cpu", a_checkpoint(scene.database))
        for _ in range(9):
            for lease in scene.claim(worker_id):
                scene.fail(lease)
        assert scene.job(job_id).status == "failed"


def test_two_tasks_that_fail_at_once_do_not_deadlock(scene: Scene) -> None:
    worker_id = scene.worker()
    scene.break_down(worker_id, batches=4, owners=BOTH)
    scene.submit(images_per_prompt=2)
    first, second = scene.claim(worker_id)
    with ThreadPoolExecutor() as threads:
        with scene.database.begin() as session:
            endings.fail(session, first, "the device broke", is_retryable=False)
            waiting = threads.submit(scene.fail, second, is_retryable=False)
            scene.wait_for_blocked()
        waiting.result()
    assert scene.excluded() == [OUT, KEPT]
