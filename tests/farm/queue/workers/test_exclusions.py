"""Workers that are to render nothing, or nothing of a checkpoint."""

import pytest

from farm.errors import Conflict, NotFound
from farm.queue.workers import exclusions, fleet
from farm.upkeep import keeper
from tests.factories import Scene, a_checkpoint


def events(scene: Scene) -> list[str]:
    told: str | None = scene.scalar(
        "SELECT string_agg(kind || ' ' || reason, '\n' ORDER BY id) FROM events WHERE job_id IS NULL"
    )
    return (told or "").splitlines()


def beat(scene: Scene, worker_id: int, status: str = "idle") -> bool:
    with scene.database.begin() as session:
        return fleet.beat(session, worker_id, status, None)


def serving(scene: Scene) -> int:
    with scene.database.begin() as session:
        return fleet.workers_in_service(session, "default")


def an_hour_passes(scene: Scene) -> None:
    scene.scalar("UPDATE exclusions SET created_at = created_at - interval '61 minutes' RETURNING id")


class TestDrain:
    def test_a_drained_worker_claims_nothing(self, scene: Scene) -> None:
        scene.submit()
        worker_id = scene.worker()
        scene.drain()
        assert scene.claim(worker_id) == ()

    def test_a_drained_worker_claims_nothing_even_if_every_worker_is_drained(self, scene: Scene) -> None:
        scene.submit()
        for device in "01":
            scene.worker(device)
            scene.drain(f"host/{device}")
        assert scene.claim(1) == scene.claim(2) == ()

    def test_a_drained_worker_finishes_the_tasks_it_holds(self, scene: Scene) -> None:
        scene.submit()
        worker_id = scene.worker()
        [lease] = scene.claim(worker_id)
        scene.drain()
        assert scene.renew(worker_id, lease) == {lease}
        assert scene.publish(lease)

    def test_other_workers_go_on_while_one_is_drained(self, scene: Scene) -> None:
        scene.submit()
        scene.worker("0")
        scene.drain("host/0")
        assert len(scene.claim(scene.worker("1"))) == 1

    def test_a_drain_outlives_the_process(self, scene: Scene) -> None:
        scene.submit()
        scene.worker()
        scene.drain()
        assert scene.claim(scene.worker()) == ()

    def test_a_beat_answers_whether_the_worker_is_out_of_service(self, scene: Scene) -> None:
        worker_id = scene.worker()
        heard = [beat(scene, worker_id)]
        scene.drain()
        heard.append(beat(scene, worker_id))
        scene.restore()
        assert [*heard, beat(scene, worker_id)] == [False, True, False]

    def test_a_drained_worker_takes_no_part_of_a_short_job(self, scene: Scene) -> None:
        scene.submit(images_per_prompt=4)
        scene.worker("0")
        scene.drain("host/0")
        assert len(scene.claim(scene.worker("1"))) == 4

    def test_only_workers_in_service_are_counted_as_able_to_serve(self, scene: Scene) -> None:
        scene.worker("0")
        beat(scene, scene.worker("1"), "draining")
        beat(scene, scene.worker("2"), "drained")
        scene.worker("3")
        scene.drain("host/3")
        assert serving(scene) == 2

    def test_a_pool_whose_workers_are_drained_is_not_rung(self, scene: Scene) -> None:
        scene.submit()
        beat(scene, scene.worker(), "drained")
        with scene.database.begin() as session:
            assert keeper.pools_to_ring(session) == []

    def test_draining_twice_keeps_the_last_reason(self, scene: Scene) -> None:
        scene.worker()
        scene.drain(reason="drained by ana")
        scene.drain(reason="drained by mia")
        assert scene.scalar("SELECT string_agg(reason, ',') FROM exclusions") == "drained by mia"

    def test_a_worker_that_is_switched_off_can_be_drained(self, scene: Scene) -> None:
        with scene.database.begin() as session:
            fleet.retire(session, a_worker := scene.worker(), "stopped")
        scene.drain()
        assert scene.excluded() == [("host/cpu", None)]
        assert not scene.claim(a_worker)

    def test_an_unknown_worker_is_refused_with_those_that_are_known(self, scene: Scene) -> None:
        scene.worker("0")
        scene.worker("1")
        with pytest.raises(NotFound, match=r"There is no worker 'host/2'\. Known: host/0, host/1\."):
            scene.drain("host/2")


class TestRestore:
    def test_a_restored_worker_goes_on(self, scene: Scene) -> None:
        scene.submit()
        worker_id = scene.worker()
        scene.drain()
        scene.restore()
        assert len(scene.claim(worker_id)) == 1

    def test_restoring_a_worker_lifts_all_it_was_kept_from(self, scene: Scene) -> None:
        scene.worker()
        scene.avoid("host/cpu", a_checkpoint(scene.database))
        scene.drain()
        scene.restore()
        assert scene.excluded() == []

    def test_one_checkpoint_can_be_given_back_alone(self, scene: Scene) -> None:
        scene.worker()
        for name in ("first", "second"):
            scene.avoid("host/cpu", a_checkpoint(scene.database, name, sha256=name[0] * 64))
        scene.restore("host/cpu", "first")
        assert scene.excluded() == [("host/cpu", "second")]

    def test_giving_a_checkpoint_back_does_not_put_the_worker_in_service(self, scene: Scene) -> None:
        scene.worker()
        scene.avoid("host/cpu", a_checkpoint(scene.database))
        scene.drain()
        scene.restore("host/cpu", "demo")
        assert scene.excluded() == [("host/cpu", None)]

    @pytest.mark.parametrize(("checkpoint", "what"), [(None, "all work"), ("demo", "checkpoint 'demo'")])
    def test_a_worker_that_is_kept_from_nothing_cannot_be_restored(
        self, scene: Scene, checkpoint: str | None, what: str
    ) -> None:
        scene.worker()
        with pytest.raises(Conflict, match=f"Worker host/cpu is not kept from {what}"):
            scene.restore("host/cpu", checkpoint)

    def test_an_unknown_worker_cannot_be_restored(self, scene: Scene) -> None:
        with pytest.raises(NotFound, match="Known: none yet"):
            scene.restore("host/cpu")

    def test_a_worker_that_was_forgotten_can_be_restored(self, scene: Scene) -> None:
        scene.worker()
        scene.drain()
        scene.scalar("DELETE FROM workers RETURNING id")
        scene.restore()
        assert scene.excluded() == []


class TestAvoid:
    def test_an_avoided_checkpoint_is_left_to_another_worker(self, scene: Scene) -> None:
        job_id = scene.submit()
        torn, sound = scene.worker("0"), scene.worker("1")
        scene.avoid("host/0", a_checkpoint(scene.database))
        assert scene.claim(torn) == ()
        assert [lease.job_id for lease in scene.claim(sound)] == [job_id]

    def test_jobs_behind_an_avoided_checkpoint_are_still_claimed(self, scene: Scene) -> None:
        a_checkpoint(scene.database, "other", sha256="c" * 64)
        scene.submit(priority=60)
        other = scene.submit(checkpoint="other")
        torn, _ = scene.worker("0"), scene.worker("1")
        scene.avoid("host/0", a_checkpoint(scene.database))
        assert [lease.job_id for lease in scene.claim(torn)] == [other]

    def test_a_batch_is_not_filled_from_an_avoided_checkpoint(self, scene: Scene) -> None:
        """The same weights under two names share their batch keys."""
        twin = a_checkpoint(scene.database, "twin")
        first = scene.submit()
        scene.submit(checkpoint="twin", images_per_prompt=3)
        torn, _ = scene.worker("0"), scene.worker("1")
        scene.avoid("host/0", twin)
        assert [lease.job_id for lease in scene.claim(torn)] == [first]

    @pytest.mark.parametrize("reason", ["gone", "ending", "drained", "elsewhere", "avoiding"])
    def test_a_checkpoint_that_no_other_worker_could_render_is_not_avoided(self, scene: Scene, reason: str) -> None:
        scene.submit()
        demo = a_checkpoint(scene.database)
        torn, other = scene.worker("0"), scene.worker("1", pool="large" if reason == "elsewhere" else "default")
        scene.avoid("host/0", demo)
        if reason in ("gone", "ending"):
            beat(scene, other, {"gone": "offline", "ending": "draining"}[reason])
        if reason == "drained":
            scene.drain("host/1")
        if reason == "avoiding":
            scene.avoid("host/1", demo)
        assert len(scene.claim(torn)) == 1

    def test_a_checkpoint_is_tried_again_after_an_hour(self, scene: Scene) -> None:
        scene.submit()
        torn, _ = scene.worker("0"), scene.worker("1")
        scene.avoid("host/0", a_checkpoint(scene.database))
        an_hour_passes(scene)
        assert scene.excluded() == []
        assert len(scene.claim(torn)) == 1

    def test_a_drain_does_not_expire(self, scene: Scene) -> None:
        scene.worker()
        scene.drain()
        an_hour_passes(scene)
        assert scene.excluded() == [("host/cpu", None)]

    def test_a_checkpoint_is_avoided_again_only_after_its_exclusion_expired(self, scene: Scene) -> None:
        demo = a_checkpoint(scene.database)
        scene.worker()
        first, again = scene.avoid("host/cpu", demo), scene.avoid("host/cpu", demo, "another reason")
        an_hour_passes(scene)
        later = scene.avoid("host/cpu", demo, "later")
        assert (first, again, later) == (True, False, True)
        assert scene.scalar("SELECT reason FROM exclusions") == "later"


def test_each_exclusion_and_restoration_is_an_event(scene: Scene) -> None:
    scene.worker()
    scene.drain(reason="drained by ana")
    scene.avoid("host/cpu", a_checkpoint(scene.database), "torn")
    scene.restore("host/cpu", "demo")
    scene.restore()
    with scene.database.begin() as session:
        exclusions.take_out_of_service(session, "host/cpu", "it fails")
    assert events(scene) == [
        "worker.drained host/cpu: drained by ana",
        "checkpoint.avoided demo on host/cpu: torn",
        "worker.restored host/cpu: checkpoint 'demo'",
        "worker.restored host/cpu: all work",
        "worker.excluded host/cpu: it fails",
    ]


def test_a_drain_by_a_person_is_not_replaced_by_the_farm(scene: Scene) -> None:
    scene.worker()
    scene.drain(reason="drained by ana")
    with scene.database.begin() as session:
        assert not exclusions.take_out_of_service(session, "host/cpu", "it fails")
    assert scene.scalar("SELECT reason FROM exclusions") == "drained by ana"
