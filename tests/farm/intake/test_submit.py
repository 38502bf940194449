"""How a request becomes a job, or is refused whole."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import event

from farm.errors import IdempotencyConflict, InvalidRequest
from farm.intake import submit as intake
from farm.intake.repeats import AcceptedJob
from farm.intake.request import parse_request
from farm.intake.unfold import Unfolding, expand
from farm.queue.doorbell import Doorbell
from farm.spec.fields import SEEDS
from farm.spec.image import TextToImageSpec
from farm.weights import checkpoints
from tests.factories import Scene, a_checkpoint, a_request, a_spec, a_user, accept


def submit(scene: Scene, *, key: str | None = None, owner: str = "local", **fields: object) -> AcceptedJob:
    return accept(scene.database, scene.settings, scene.doorbell, a_request(**fields), owner=owner, key=key)


def seeds(scene: Scene, job_id: int) -> list[int]:
    return [task.spec["seed"] for task in scene.tasks(job_id)]


@pytest.fixture(autouse=True)
def checkpoint(scene: Scene) -> int:
    return a_checkpoint(scene.database)


class TestAccepted:
    def test_every_prompt_becomes_its_images_in_order(self, scene: Scene) -> None:
        submitted = submit(scene, prompts=["a", {"prompt": "b", "images_per_prompt": 1}], images_per_prompt=2)
        assert [task.spec["prompt"] for task in scene.tasks(submitted.job_id)] == ["a", "a", "b"]
        assert submitted.images == 3

    def test_every_task_is_queued_with_all_its_tries(self, scene: Scene) -> None:
        [task] = scene.tasks(submit(scene).job_id)
        assert (task.status, task.attempt, task.attempt_limit) == ("queued", 0, scene.settings.max_attempts)

    def test_settings_that_a_prompt_leaves_out_are_taken_from_the_job(self, scene: Scene) -> None:
        row = {"prompt": "b", "sampler": "DDIM", "height": 640}
        [task] = scene.tasks(submit(scene, prompts=[row], negative_prompt="fog", num_inference_steps=9).job_id)
        assert TextToImageSpec(**task.spec) == a_spec(
            prompt="b", sampler="DDIM", height=640, negative_prompt="fog", num_inference_steps=9
        )

    def test_text_survives_the_copy_unchanged(self, scene: Scene) -> None:
        prompt = 'tab\t newline\n "quotes" back\\slash \\N \\. ünï 🖼'
        [task] = scene.tasks(submit(scene, prompts=[prompt]).job_id)
        assert task.spec["prompt"] == prompt

    def test_the_counters_know_every_batch_key(self, scene: Scene) -> None:
        submit(scene, prompts=["a", {"prompt": "b", "width": 768}, "c"], images_per_prompt=2)
        assert scene.counters() == scene.recount()
        assert sorted(counts[0] for counts in scene.counters().values()) == [2, 4]

    def test_prompts_of_unequal_length_are_batched_apart(self, scene: Scene) -> None:
        """The renderer pads none to the length of another: together they would be calls of their own anyway."""
        submit(scene, prompts=["a fox", "a hare", "a fox in the fog, " * 20])
        assert sorted(counts[0] for counts in scene.counters().values()) == [1, 2]

    def test_a_job_without_a_name_is_called_by_its_first_prompt(self, scene: Scene) -> None:
        assert scene.job(submit(scene, prompts=["a red\nfox"]).job_id).name == "a red"

    def test_jobs_of_one_project_share_it(self, scene: Scene) -> None:
        submit(scene, project="film")
        submit(scene, project="film")
        assert scene.scalar("SELECT count(DISTINCT project_id) FROM jobs") == 1

    def test_no_part_of_a_job_is_visible_before_its_commit(self, scene: Scene) -> None:
        seen = []
        event.listen(scene.database.engine, "commit", lambda _: seen.append(_jobs_seen_from_elsewhere(scene)))
        submit(scene)
        assert (seen[0], _jobs_seen_from_elsewhere(scene)) == ("0 0", "1 1")

    def test_the_only_checkpoint_need_not_be_named(self, scene: Scene) -> None:
        [task] = scene.tasks(submit(scene, checkpoint=None).job_id)
        assert task.spec["checkpoint"] == "demo"

    def test_a_job_that_no_worker_serves_is_accepted_with_a_warning(self, scene: Scene) -> None:
        scene.worker(pool="large")
        assert submit(scene).warnings == ("No worker serves the pool 'default' now; the job waits until one does.",)

    def test_a_job_that_a_worker_serves_has_no_warning(self, scene: Scene) -> None:
        scene.worker()
        assert submit(scene).warnings == ()

    def test_a_job_is_accepted_while_redis_is_dead(self, scene: Scene) -> None:
        deaf = dataclasses.replace(scene, doorbell=Doorbell("redis://127.0.0.1:1"))
        job_id = submit(deaf).job_id
        assert scene.statuses(job_id) == ["queued"]
        assert deaf.doorbell.failures == 1


def _jobs_seen_from_elsewhere(scene: Scene) -> str:
    """How many jobs and tasks another connection sees."""
    with scene.database.engine.connect() as connection:
        query = "SELECT (SELECT count(*) FROM jobs) || ' ' || (SELECT count(*) FROM tasks)"
        seen: str = connection.exec_driver_sql(query).scalar_one()
    return seen


class TestSeeds:
    def test_the_images_of_a_prompt_count_on_from_its_seed(self, scene: Scene) -> None:
        assert seeds(scene, submit(scene, seed=40, images_per_prompt=3).job_id) == [40, 41, 42]

    def test_a_prompt_may_have_a_seed_of_its_own(self, scene: Scene) -> None:
        prompts = ["a", {"prompt": "b", "seed": 0}]
        assert seeds(scene, submit(scene, prompts=prompts, seed=7).job_id) == [7, 0]

    def test_seeds_start_over_at_0_after_the_largest_one(self, scene: Scene) -> None:
        assert seeds(scene, submit(scene, seed=SEEDS - 1, images_per_prompt=3).job_id) == [SEEDS - 1, 0, 1]

    def test_open_seeds_are_drawn_for_each_prompt_and_recorded(self, scene: Scene) -> None:
        job_id = submit(scene, seed=None, prompts=["a", "b", "c"]).job_id
        drawn = seeds(scene, job_id)
        assert len(set(drawn)) == 3
        assert all(0 <= seed < SEEDS for seed in drawn)

    def test_an_open_seed_is_drawn_once_for_all_images_of_a_prompt(self, scene: Scene) -> None:
        first, second = seeds(scene, submit(scene, seed=None, images_per_prompt=2).job_id)
        assert second == (first + 1) % SEEDS


class TestRefused:
    def test_every_problem_is_named_at_once(self, scene: Scene) -> None:
        with pytest.raises(InvalidRequest) as refusal:
            submit(scene, checkpoint="nobody", width=4096, deadline="2020-01-01T00:00:00Z")
        assert {p.field for p in refusal.value.problems} == {"checkpoint", "width", "deadline"}

    def test_a_refused_request_stores_nothing(self, scene: Scene) -> None:
        before = scene.contents()
        with pytest.raises(InvalidRequest):
            submit(scene, project="film", key="k", sampler="LCM", num_inference_steps=51)
        assert scene.contents() == before

    def test_an_unknown_checkpoint_is_refused_with_those_that_are_known(self, scene: Scene) -> None:
        with pytest.raises(InvalidRequest, match=r"checkpoint: unknown checkpoint 'nobody'\. Known: demo"):
            submit(scene, checkpoint="nobody")

    def test_an_unknown_checkpoint_of_one_prompt_is_named_by_its_row(self, scene: Scene) -> None:
        with pytest.raises(InvalidRequest, match=r"prompts\[1\].checkpoint: unknown checkpoint"):
            submit(scene, prompts=["a", {"prompt": "b", "checkpoint": "nobody"}])

    def test_one_of_several_checkpoints_must_be_named(self, scene: Scene) -> None:
        a_checkpoint(scene.database, "other")
        with pytest.raises(InvalidRequest, match=r"checkpoint: must be named\. Known: demo, other"):
            submit(scene, checkpoint=None)

    def test_a_job_may_leave_the_checkpoint_to_its_prompts(self, scene: Scene) -> None:
        a_checkpoint(scene.database, "other")
        prompts = [{"prompt": "a", "checkpoint": "demo"}, {"prompt": "b", "checkpoint": "other"}]
        assert submit(scene, checkpoint=None, prompts=prompts).images == 2

    def test_a_job_beyond_the_limit_of_images_is_refused(self, scene: Scene) -> None:
        small = dataclasses.replace(scene, settings=scene.settings.model_copy(update={"max_images_per_job": 3}))
        assert submit(small, images_per_prompt=3).images == 3
        with pytest.raises(InvalidRequest, match="prompts: the job would unfold into 4 images; the limit is 3"):
            submit(small, prompts=["a", "b"], images_per_prompt=2)

    def test_a_side_beyond_this_farms_limit_is_refused(self, scene: Scene) -> None:
        with pytest.raises(InvalidRequest, match=r"prompts\[0\].height: must be at most 2048 on this farm"):
            submit(scene, prompts=[{"prompt": "a", "height": 2056}])

    def test_a_second_pass_beyond_the_limit_is_refused_by_its_own_field(self, scene: Scene) -> None:
        with pytest.raises(InvalidRequest, match=r"^hires.scale: must be at most 2048 on this farm, not 4096$"):
            submit(scene, width=1024, height=512, hires={"scale": 4})
        with pytest.raises(InvalidRequest, match=r"^width: must be at most 2048 on this farm, not 4096$"):
            submit(scene, width=4096, height=512, hires={"width": 512, "height": 512})

    def test_a_checkpoint_that_is_removed_while_prompts_unfold_is_refused(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def expand_slowly(*arguments: Any) -> Unfolding:
            with scene.database.begin() as session:
                checkpoints.remove(session, "demo")
            return expand(*arguments)

        monkeypatch.setattr(intake, "expand", expand_slowly)
        with pytest.raises(InvalidRequest, match="was removed this moment"):
            submit(scene)

    def test_a_deadline_before_the_start_is_refused(self, scene: Scene) -> None:
        with pytest.raises(InvalidRequest, match="deadline: must be later than not_before"):
            submit(scene, not_before="2999-01-02T00:00:00Z", deadline="2999-01-01T00:00:00Z")

    def test_settings_of_a_prompt_that_do_not_fit_together_are_named_by_its_row(self, scene: Scene) -> None:
        with pytest.raises(InvalidRequest) as refusal:
            submit(scene, prompts=["a", {"prompt": "b", "sampler": "LCM"}], num_inference_steps=51)
        [problem] = refusal.value.problems
        assert problem.field == "prompts[1].num_inference_steps"
        assert problem.message == "LCM takes at most 50 steps"


class TestIdempotency:
    def test_a_repeat_under_its_key_is_answered_with_the_first_job(self, scene: Scene) -> None:
        first = submit(scene, key="k", images_per_prompt=2)
        before = scene.contents()
        repeat = submit(scene, key="k", images_per_prompt=2)
        assert (repeat.job_id, repeat.images, repeat.is_replay) == (first.job_id, 2, True)
        assert scene.contents() == before

    def test_an_open_seed_does_not_make_a_repeat_another_request(self, scene: Scene) -> None:
        first = submit(scene, key="k", seed=None)
        assert submit(scene, key="k", seed=None).job_id == first.job_id

    def test_another_request_under_the_same_key_is_a_conflict(self, scene: Scene) -> None:
        submit(scene, key="k")
        with pytest.raises(IdempotencyConflict):
            submit(scene, key="k", prompts=["another"])

    def test_two_owners_may_use_the_same_key(self, scene: Scene) -> None:
        a_user(scene.database, "ada")
        assert submit(scene, key="k").job_id != submit(scene, key="k", owner="ada").job_id

    def test_requests_without_a_key_are_never_the_same(self, scene: Scene) -> None:
        assert submit(scene).job_id != submit(scene).job_id

    def test_repeats_at_the_same_moment_make_one_job(self, scene: Scene) -> None:
        with ThreadPoolExecutor(6) as threads:
            submitted = list(threads.map(lambda _: submit(scene, key="k", images_per_prompt=50), range(6)))
        assert len({s.job_id for s in submitted}) == 1
        assert sum(not s.is_replay for s in submitted) == 1
        assert scene.scalar("SELECT count(*) FROM tasks") == 50

    def test_a_key_whose_request_was_refused_is_free(self, scene: Scene) -> None:
        with pytest.raises(InvalidRequest):
            submit(scene, key="k", checkpoint="nobody")
        assert not submit(scene, key="k").is_replay

    def test_a_repeat_is_known_after_its_checkpoint_was_removed(self, scene: Scene) -> None:
        first = submit(scene, key="k")
        scene.scalar("UPDATE checkpoints SET removed_at = now() RETURNING id")
        assert submit(scene, key="k").job_id == first.job_id


@pytest.mark.parametrize("fields", [{"seed": -1}, {"prompts": [{"prompt": "a fox", "seed": -1}], "seed": 7}])
def test_a_seed_of_minus_one_is_replaced_by_a_random_one(scene: Scene, fields: dict[str, Any]) -> None:
    [first] = scene.tasks(scene.submit(**fields))
    [second] = scene.tasks(scene.submit(**fields))
    assert len({first.spec["seed"], second.spec["seed"], -1, 7}) == 4


def test_a_seed_of_minus_one_has_the_fingerprint_of_a_request_without_a_seed() -> None:
    left_out = parse_request({"prompts": ["a fox"]})
    assert parse_request({"prompts": ["a fox"], "seed": -1}).fingerprint == left_out.fingerprint
