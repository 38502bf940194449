"""What people and programs read."""

import pytest
from sqlalchemy import text

from farm.errors import NotFound
from farm.queue import steering
from farm.queue.workers import fleet
from farm.reports import gallery, overview, shapes, workers
from farm.reports.gallery import Links
from tests.factories import Scene, a_checkpoint, a_user
from tests.fakes import MemoryStore


class TestJobs:
    def test_a_job_is_reported_with_the_counts_of_all_its_batch_keys(self, scene: Scene) -> None:
        job_id = scene.submit(prompts=["a", {"prompt": "b", "width": 768}], images_per_prompt=2)
        scene.publish(*scene.claim(scene.worker(), limit=1))
        with scene.database.begin() as session:
            images = overview.job(session, job_id).images
        assert (images.total, images.queued, images.succeeded, images.finished) == (4, 3, 1, 1)

    def test_a_job_says_how_it_is_dispatched(self, scene: Scene) -> None:
        marked, small = scene.submit(**{"class": "bulk"}, max_devices=2), scene.submit()
        with scene.database.begin() as session:
            found = [overview.job(session, id_).model_dump(mode="json") for id_ in (marked, small)]
        assert [(job["class"], job["max_devices"]) for job in found] == [("bulk", 2), ("interactive", None)]

    def test_an_unknown_job_is_not_found(self, scene: Scene) -> None:
        with pytest.raises(NotFound, match="There is no job 404"), scene.database.begin() as session:
            overview.job(session, 404)

    def test_the_newest_job_comes_first_and_pages_go_on_before_it(self, scene: Scene) -> None:
        oldest, middle, newest = (scene.submit() for _ in range(3))
        with scene.database.begin() as session:
            assert [job.id for job in overview.jobs(session, limit=2)] == [newest, middle]
            assert [job.id for job in overview.jobs(session, limit=2, before=middle)] == [oldest]

    def test_jobs_are_found_by_status_and_owner(self, scene: Scene) -> None:
        a_user(scene.database, "ada")
        scene.submit()
        of_ada = scene.submit(owner="ada", project="film")
        steering.pause(scene.database, of_ada)
        with scene.database.begin() as session:
            assert [job.id for job in overview.jobs(session, status="paused")] == [of_ada]
            [found] = overview.jobs(session, owner="ada")
        assert (found.id, found.owner, found.project) == (of_ada, "ada", "film")

    def test_only_a_finished_job_is_final(self, scene: Scene) -> None:
        active, cancelled = scene.submit(), scene.submit()
        steering.cancel(scene.database, cancelled)
        with scene.database.begin() as session:
            assert not overview.job(session, active).is_final
            assert overview.job(session, cancelled).is_final


class TestTasks:
    def test_tasks_are_listed_in_order_with_their_worker(self, scene: Scene) -> None:
        job_id = scene.submit(images_per_prompt=3)
        scene.claim(scene.worker(), limit=1)
        with scene.database.begin() as session:
            told = [(task.seq, task.status, task.worker) for task in overview.tasks(session, job_id)]
        assert told == [(0, "running", "host/cpu"), (1, "queued", None), (2, "queued", None)]

    def test_pages_of_tasks_go_on_after_a_seq(self, scene: Scene) -> None:
        job_id = scene.submit(images_per_prompt=4)
        with scene.database.begin() as session:
            assert [task.seq for task in overview.tasks(session, job_id, after=1, limit=1)] == [2]

    def test_tasks_are_found_by_status(self, scene: Scene) -> None:
        job_id = scene.submit(images_per_prompt=2)
        scene.publish(*scene.claim(scene.worker(), limit=1))
        with scene.database.begin() as session:
            assert [task.seq for task in overview.tasks(session, job_id, status="succeeded")] == [0]

    def test_results_are_listed_in_order_with_their_images(self, scene: Scene) -> None:
        job_id = scene.submit(images_per_prompt=2)
        first, second = scene.claim(scene.worker())
        scene.publish(second)
        scene.publish(first)
        with scene.database.begin() as session:
            urls = [image.url for image in gallery.images(session, job_id, Links(MemoryStore(), 60))]
        assert urls == [f"memory:result/{first.task_id}-1.png", f"memory:result/{second.task_id}-1.png"]

    def test_attempts_are_listed_with_their_evidence(self, scene: Scene) -> None:
        job_id = scene.submit()
        worker_id = scene.worker()
        scene.fail(*scene.claim(worker_id), relief=["batch halved"])
        scene.claim(worker_id)
        scene.release_dead(worker_id, log_tail="CUDA error\0")
        with scene.database.begin() as session:
            told = [(attempt.relief, attempt.log_tail) for attempt in overview.attempts(session, job_id)]
        assert told == [(None, "CUDA error"), (["batch halved"], None)]

    def test_unsuccessful_attempts_are_listed_newest_first(self, scene: Scene) -> None:
        job_id = scene.submit()
        worker_id = scene.worker()
        scene.fail(*scene.claim(worker_id), "the device broke")
        scene.lose(worker_id)
        scene.publish(*scene.claim(worker_id))
        with scene.database.begin() as session:
            told = [(attempt.number, attempt.outcome) for attempt in overview.attempts(session, job_id)]
        assert told == [(2, "lost"), (1, "failed")]


class TestWorkers:
    def test_a_worker_is_reported_with_what_it_does(self, scene: Scene) -> None:
        checkpoint_id = a_checkpoint(scene.database)
        worker_id = scene.worker()
        scene.submit(images_per_prompt=2)
        scene.claim(worker_id)
        with scene.database.begin() as session:
            fleet.beat(session, worker_id, "busy", checkpoint_id)
            [worker] = workers.workers(session)
        assert (worker.status, worker.checkpoint, worker.running) == ("busy", "demo", 2)
        assert 0 <= worker.silent_seconds < 5

    def test_a_worker_is_reported_with_what_it_is_kept_from(self, scene: Scene) -> None:
        scene.worker("0")
        scene.worker("1")
        scene.avoid("host/0", a_checkpoint(scene.database), "torn")
        scene.drain("host/0", "drained by ana")
        with scene.database.begin() as session:
            kept, free = workers.workers(session)
        assert [(x.checkpoint, x.reason) for x in kept.exclusions] == [(None, "drained by ana"), ("demo", "torn")]
        assert kept.out_of_service == kept.exclusions[0]
        assert kept.avoided == kept.exclusions[1:]
        assert (free.exclusions, free.out_of_service) == ([], None)

    def test_workers_that_are_gone_come_last_for_a_day(self, scene: Scene) -> None:
        gone, alive, forgotten = scene.worker("0"), scene.worker("1"), scene.worker("2")
        with scene.database.begin() as session:
            fleet.retire(session, gone, "stopped")
            fleet.retire(session, forgotten, "stopped")
            past = text("UPDATE workers SET last_seen_at = now() - interval '2 days' WHERE id = :id")
            session.execute(past, {"id": forgotten})
        with scene.database.begin() as session:
            assert [worker.id for worker in workers.workers(session)] == [alive, gone]
            assert [worker.id for worker in workers.workers(session, is_live=True)] == [alive]


def test_the_farm_report_counts_images_and_workers(scene: Scene) -> None:
    scene.submit(images_per_prompt=3)
    worker_id = scene.worker("0")
    scene.worker("1")
    scene.worker("2")
    scene.drain("host/2")
    scene.claim(worker_id, limit=1)
    with scene.database.begin() as session:
        fleet.beat(session, worker_id, "busy", None)
        glance = overview.farm(session)
    assert glance == shapes.FarmReport(queued=2, running=1, workers_live=3, workers_in_service=2, workers_busy=1)
