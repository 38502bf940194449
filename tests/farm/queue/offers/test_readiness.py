"""Groups that jobs share, lines that are ready, and the queues that lead claims to them."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import text

from farm.planner.prune import prune
from farm.queue import steering
from farm.queue.offers import corrections, readiness
from tests.factories import Scene, a_user, explain

LATER = "2999-01-01T00:00:00Z"
WAITING = "SELECT count(*) FROM queues WHERE is_waiting"


def rows(scene: Scene, sql: str) -> list[tuple[Any, ...]]:
    with scene.database.begin() as session:
        return [tuple(row) for row in session.execute(text(sql))]


def many_owners(scene: Scene, job_id: int, count: int = 1_001) -> list[int]:
    """So many owners beside one, who all have a line like the job's; their ids and that one's, in order."""
    scene.execute("INSERT INTO users (name) SELECT 'owner-' || n FROM generate_series(1, :n) n", n=count)
    scene.execute(
        """
        INSERT INTO counters (job_id, batch_key, owner_id, checkpoint_id, pool, priority, group_id, is_open,
                              is_ready, not_before, queued)
        SELECT job_id, name, u.id, checkpoint_id, pool, priority, group_id, is_open, is_ready, not_before, queued
        FROM counters c, users u WHERE c.job_id = :id AND u.name LIKE 'owner-%'
        """,
        id=job_id,
    )
    return scene.column("SELECT owner_id FROM counters ORDER BY owner_id")


class TestSubmit:
    def test_jobs_with_equal_batch_keys_share_a_group(self, scene: Scene) -> None:
        a_user(scene.database, "ana")
        for owner in ("local", "ana"):
            scene.submit(owner=owner)
        assert scene.scalar("SELECT count(DISTINCT group_id) FROM counters") == 1

    @pytest.mark.parametrize("other", [{"width": 768}, {"pool": "large"}, {"deterministic": True}], ids=str)
    def test_jobs_that_may_not_share_a_pipeline_call_share_no_group(
        self, scene: Scene, other: dict[str, Any]
    ) -> None:
        scene.submit()
        scene.submit(**other)
        assert scene.scalar("SELECT count(DISTINCT group_id) FROM counters") == 2

    def test_a_group_that_is_deleted_while_it_is_entered_is_entered_again(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Pruning deletes those that no line named for a day."""
        scene.submit()
        [(checkpoint_id,)] = rows(scene, "SELECT checkpoint_id FROM groups")
        kinds = [readiness.Kind(key, checkpoint_id, 512 * 512, 5e6) for key in ("b", "a")]
        with scene.database.begin() as session:
            readiness.enter_groups(session, "default", None, kinds)
        scene.execute("UPDATE groups SET created_at = now() - interval '2 days'")
        with scene.database.begin() as session:
            execute = session.execute

            def prune_first(*arguments: Any, **options: Any) -> Any:
                with scene.database.begin() as other:
                    prune(other)
                return execute(*arguments, **options)

            monkeypatch.setattr(session, "execute", prune_first)
            assert sorted(readiness.enter_groups(session, "default", None, kinds)) == ["a", "b"]

    def test_a_group_says_how_much_work_an_image_is(self, scene: Scene) -> None:
        scene.submit(width=512, height=768, num_inference_steps=10)
        assert rows(scene, "SELECT pixels, pixel_steps FROM groups") == [(512 * 768, 512 * 768 * 10)]

    def test_a_line_says_what_a_plan_must_know_of_its_job(self, scene: Scene) -> None:
        scene.submit(project="spring", max_devices=3)
        assert rows(
            scene,
            "SELECT p.name, max_devices, is_ready, ready_at = j.created_at FROM counters c "
            "JOIN jobs j ON j.id = job_id JOIN projects p ON p.id = c.project_id",
        ) == [("spring", 3, True, True)]

    @pytest.mark.parametrize(
        ("fields", "class_"),
        [
            ({"images_per_prompt": 4}, "interactive"),
            ({"images_per_prompt": 5}, "bulk"),
            ({"images_per_prompt": 5, "deadline": LATER}, "deadline"),
            ({"images_per_prompt": 4, "deadline": LATER}, "interactive"),
            ({"images_per_prompt": 5, "class": "interactive"}, "interactive"),
            ({"class": "bulk"}, "bulk"),
        ],
        ids=str,
    )
    def test_a_jobs_class_follows_from_its_size_and_deadline_unless_it_is_marked(
        self, scene: Scene, fields: dict[str, Any], class_: str
    ) -> None:
        scene.submit(**fields)
        assert scene.scalar("SELECT class FROM counters") == class_

    def test_a_marked_job_is_still_marked_when_it_is_read_again(self, scene: Scene) -> None:
        scene.submit(**{"class": "bulk"})
        assert scene.scalar("SELECT request ->> 'class' FROM jobs") == "bulk"

    def test_a_job_whose_time_is_to_come_is_not_ready_and_in_no_queue(self, scene: Scene) -> None:
        scene.submit(not_before=LATER)
        assert rows(scene, "SELECT is_ready, ready_at = not_before FROM counters") == [(False, True)]
        assert rows(scene, "SELECT FROM queues") == []

    def test_submits_of_the_same_new_groups_at_once_do_not_deadlock(self, scene: Scene) -> None:
        widths = [512 + 64 * n for n in range(8)]
        orders = [widths, widths[::-1]] * 4
        prompts = [[{"prompt": "a", "width": width} for width in order] for order in orders]
        scene.submit()
        with ThreadPoolExecutor(8) as threads:
            assert len(list(threads.map(lambda each: scene.submit(prompts=each), prompts))) == 8
        assert scene.scalar("SELECT count(*) FROM groups") == 8

    def test_a_submit_opens_the_queue_of_its_owner_again(self, scene: Scene) -> None:
        scene.submit()
        scene.execute("UPDATE queues SET is_waiting = false")
        scene.submit(priority=60)
        scene.submit()
        assert rows(scene, "SELECT priority, is_waiting FROM queues ORDER BY 1") == [(50, True), (60, True)]


def test_an_older_job_that_is_resumed_counts_as_ready_from_then_on(scene: Scene) -> None:
    job_id = scene.submit()
    scene.execute("UPDATE counters SET ready_at = now() - interval '1 day'")
    steering.pause(scene.database, job_id)
    steering.resume(scene.database, scene.doorbell, job_id)
    assert scene.scalar("SELECT ready_at > now() - interval '1 minute' FROM counters")


class TestCorrections:
    @staticmethod
    def correct(scene: Scene) -> None:
        for correct in (
            corrections.adopt_lines,
            corrections.wake_lines,
            corrections.open_missing_queues,
            corrections.close_empty_queues,
        ):
            with scene.database.begin() as session:
                correct(session)

    def test_a_line_of_an_older_portal_is_adopted_into_its_group(self, scene: Scene) -> None:
        scene.submit()
        stray = scene.submit(project="spring", deadline=LATER)
        scene.execute(
            "UPDATE counters SET group_id = NULL, project_id = NULL, is_ready = false, ready_at = NULL, "
            "class = 'bulk' WHERE job_id = :id",
            id=stray,
        )
        self.correct(scene)
        assert scene.scalar("SELECT count(DISTINCT group_id) FROM counters") == 1
        assert rows(scene, f"SELECT is_ready, class, project_id IS NULL FROM counters WHERE job_id = {stray}") == [
            (True, "deadline", False)
        ]
        assert len(scene.claim(scene.worker())) == 2

    def test_a_line_of_an_older_portal_in_no_known_group_gets_a_new_one(self, scene: Scene) -> None:
        scene.submit(width=512, height=512)
        scene.execute("UPDATE counters SET group_id = NULL, is_ready = false")
        scene.execute("DELETE FROM groups")
        scene.execute("DELETE FROM queues")
        self.correct(scene)
        assert rows(scene, "SELECT pixels, pixel_steps FROM groups") == [(512 * 512, 20 * 512 * 512)]
        assert len(scene.claim(scene.worker())) == 1

    def test_an_early_or_paused_line_of_an_older_portal_is_adopted_and_not_ready(self, scene: Scene) -> None:
        steering.pause(scene.database, scene.submit())
        scene.submit(not_before=LATER)
        scene.execute("UPDATE counters SET group_id = NULL")
        self.correct(scene)
        assert scene.column("SELECT is_ready FROM counters WHERE group_id IS NOT NULL") == [False, False]

    def test_a_line_whose_time_has_come_is_woken_and_no_other(self, scene: Scene) -> None:
        due = scene.submit(not_before=LATER)
        scene.submit(not_before=LATER, width=768)
        paused = scene.submit(not_before=LATER)
        steering.pause(scene.database, paused)
        scene.execute(
            "UPDATE counters SET not_before = now() WHERE job_id IN (:due, :paused)", due=due, paused=paused
        )
        self.correct(scene)
        assert [lease.job_id for lease in scene.claim(scene.worker())] == [due]

    def test_a_job_that_an_older_portal_resumed_is_woken(self, scene: Scene) -> None:
        steering.pause(scene.database, scene.submit())
        scene.execute("UPDATE counters SET is_open = true")
        self.correct(scene)
        assert len(scene.claim(scene.worker())) == 1

    def test_a_line_that_somebody_holds_is_left_to_the_next_round(self, scene: Scene) -> None:
        scene.submit(not_before=LATER)
        scene.execute("UPDATE counters SET not_before = now()")
        with scene.database.begin() as other:
            other.execute(text("SELECT FROM counters FOR UPDATE"))
            self.correct(scene)
        assert scene.column("SELECT is_ready FROM counters") == [False]
        self.correct(scene)
        assert scene.column("SELECT is_ready FROM counters") == [True]

    def test_an_owner_without_ready_lines_is_in_no_queue(self, scene: Scene) -> None:
        a_user(scene.database, "ana")
        for owner in ("local", "ana"):
            scene.submit(owner=owner)
        scene.claim(scene.worker(), limit=1)
        self.correct(scene)
        assert rows(scene, "SELECT name, is_waiting FROM queues JOIN users u ON u.id = owner_id ORDER BY 1") == [
            ("ana", True),
            ("local", False),
        ]

    def test_owners_with_ready_lines_who_are_in_no_queue_enter_theirs(self, scene: Scene) -> None:
        a_user(scene.database, "ana")
        submitted = [
            ("ana", "default", 40),
            ("ana", "default", 60),
            ("ana", "large", 50),
            ("local", "default", 40),
            ("local", "large", 70),
        ]
        for owner, pool, priority in submitted:
            scene.submit(owner=owner, pool=pool, priority=priority)
            scene.submit(owner=owner, pool=pool, priority=priority, width=768)
        scene.execute("DELETE FROM queues WHERE priority <> 50")
        self.correct(scene)
        entered = "SELECT u.name, pool, priority FROM queues JOIN users u ON u.id = owner_id WHERE is_waiting"
        assert sorted(rows(scene, entered)) == sorted(submitted)

    def test_of_very_many_owners_so_many_are_looked_at_in_a_round(self, scene: Scene) -> None:
        owners = many_owners(scene, scene.submit())
        scene.execute("DELETE FROM queues")
        with scene.database.begin() as session:
            reached = corrections.open_missing_queues(session)
        assert (reached, scene.scalar(WAITING)) == (("default", 50, owners[999]), 1000)
        with scene.database.begin() as session:
            assert corrections.open_missing_queues(session, reached) == corrections.FIRST
        assert scene.scalar(WAITING) == 1002

    def test_of_very_many_queues_so_many_are_looked_at_in_a_round(self, scene: Scene) -> None:
        owners = many_owners(scene, scene.submit())
        with scene.database.begin() as session:
            corrections.open_missing_queues(session, corrections.open_missing_queues(session))
        scene.execute("UPDATE counters SET queued = 0")
        with scene.database.begin() as session:
            reached = corrections.close_empty_queues(session)
        assert (reached, scene.scalar(WAITING)) == (("default", 50, owners[999]), 2)
        with scene.database.begin() as session:
            assert corrections.close_empty_queues(session, reached) == corrections.FIRST
        assert scene.scalar(WAITING) == 0

    @pytest.mark.parametrize("is_analysed", [True, False])
    def test_what_lies_in_the_future_is_not_looked_through(self, scene: Scene, is_analysed: bool) -> None:
        many_owners(scene, scene.submit(not_before=LATER), 5_000)
        if is_analysed:
            scene.execute("ANALYZE counters")
        with scene.database.begin() as session:
            plan = explain(session, corrections._WAKE.text)
        assert "Index Cond: (COALESCE(not_before" in plan, plan

    def test_a_job_that_is_submitted_while_its_owners_queue_closes_is_not_forgotten(self, scene: Scene) -> None:
        job_id = scene.submit()
        scene.claim(scene.worker())
        with ThreadPoolExecutor() as threads:
            with scene.database.begin() as keeper:
                corrections.close_empty_queues(keeper)
                submitting = threads.submit(scene.submit)
                scene.wait_for_blocked()
            submitted = submitting.result()
        assert job_id != submitted
        assert [lease.job_id for lease in scene.claim(scene.worker())] == [submitted]

    def test_a_queue_is_not_closed_while_a_job_of_its_owner_is_being_submitted(self, scene: Scene) -> None:
        job_id = scene.submit()
        scene.claim(scene.worker())
        with scene.database.begin() as submitting:
            submitting.execute(text("UPDATE counters SET queued = 1"))
            readiness.open_queues(submitting, [job_id])
            self.correct(scene)
        assert scene.column("SELECT is_waiting FROM queues") == [True]
