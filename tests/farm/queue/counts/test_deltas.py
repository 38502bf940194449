"""Counts and charges that are appended and folded, by several at once."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import text

from farm.db.connection import Database, Role
from farm.planner.folding import Folding
from farm.queue import deadlines, endings, lifecycle, steering
from farm.queue.counts import deltas, shifts
from farm.queue.counts.deltas import Measured
from farm.queue.counts.shares import Account
from tests.factories import Scene, a_checkpoint, a_finished, explain, many_lines

COUNTED = "SELECT queued || ' ' || running || ' ' || succeeded FROM counters WHERE job_id = :job_id"
APPENDED = "SELECT count(*) FROM deltas WHERE (queued, running, succeeded) <> (0, 0, 0)"
CHARGED = "SELECT sum(charged_seconds) FROM deltas"


def at_once(*deeds: Callable[[], Any]) -> list[Any]:
    """Do all of this in threads that begin at one moment."""
    barrier = Barrier(len(deeds))

    def do(deed: Callable[[], Any]) -> Any:
        barrier.wait(10)
        return deed()

    with ThreadPoolExecutor(len(deeds)) as threads:
        return list(threads.map(do, deeds))


class TestAppending:
    def test_a_claim_leaves_the_row_of_its_line_alone(self, scene: Scene) -> None:
        job_id = scene.submit(images_per_prompt=3)
        scene.claim(scene.worker(), limit=2)
        assert scene.scalar(COUNTED, job_id=job_id) == "3 0 0"
        assert scene.counters() == scene.recount()

    def test_a_claim_of_all_that_a_line_has_left_takes_it_from_what_is_ready_at_once(self, scene: Scene) -> None:
        job_id = scene.submit(images_per_prompt=3)
        worker_id = scene.worker()
        scene.claim(worker_id, limit=2)
        scene.claim(worker_id)
        assert scene.scalar(COUNTED, job_id=job_id) == "0 3 0"
        assert not scene.scalar("SELECT has_queued FROM counters")
        assert scene.counters() == scene.recount()

    def test_a_claim_and_a_publish_wait_for_nobody_who_holds_their_line(self, scene: Scene) -> None:
        scene.submit(images_per_prompt=200)
        worker_id = scene.worker()
        [lease] = scene.claim(worker_id, limit=1)
        with scene.database.begin() as session:
            session.execute(text("SELECT FROM counters FOR UPDATE"))
            session.execute(text("SELECT FROM users FOR UPDATE"))
            session.execute(text("SELECT FROM jobs FOR NO KEY UPDATE"))
            with ThreadPoolExecutor(2) as threads:
                assert threads.submit(scene.publish, lease).result(5)
                assert threads.submit(scene.claim, worker_id).result(5)
        assert scene.counters() == scene.recount()

    def test_images_of_one_line_are_published_with_one_delta(self, scene: Scene) -> None:
        scene.submit(images_per_prompt=200)
        leases = scene.claim(scene.worker(), limit=8)
        scene.fold()
        scene.publish_all(*leases)
        assert scene.column("SELECT succeeded FROM deltas") == [8]


class TestFold:
    def test_folded_deltas_stand_in_the_rows_of_their_lines(self, scene: Scene) -> None:
        job_id = scene.submit(images_per_prompt=3)
        first, _ = scene.claim(scene.worker(), limit=2)
        scene.publish(first)
        assert scene.fold().lines == 1
        assert scene.scalar(COUNTED, job_id=job_id) == "1 1 1"
        assert scene.scalar("SELECT count(*) FROM deltas") == 0
        assert scene.counters() == scene.recount()

    def test_a_fold_of_nothing_is_nothing(self, scene: Scene) -> None:
        assert scene.fold() == deltas.NOTHING

    def test_so_many_lines_are_folded_at_a_time_the_oldest_deltas_first(self, scene: Scene) -> None:
        jobs = [scene.submit(images_per_prompt=2) for _ in range(3)]
        worker_id = scene.worker()
        for number, job_id in enumerate(jobs):
            scene.priority(job_id, 60 + number)
            scene.claim(worker_id, limit=1)
        assert [scene.fold(2).has_more, scene.fold(2).has_more] == [True, False]
        assert scene.counters() == scene.recount()

    def test_a_fold_says_whom_it_charges_and_what_was_measured(self, scene: Scene) -> None:
        scene.submit(images_per_prompt=4)
        worker_id = scene.worker()
        leases = scene.claim(worker_id, limit=3)
        owner_id = scene.scalar("SELECT id FROM users WHERE name = 'local'")
        [(account, claimed)] = scene.fold().charges.items()
        assert (account, claimed > 0) == (Account("default", owner_id), True)
        scene.publish_all(*leases[:2])
        folded = scene.fold()
        assert folded.charges == {Account("default", owner_id): pytest.approx(1 - claimed * 2 / 3)}
        [sample] = folded.samples
        assert sample == Measured(worker_id, sample.group_id, 2, 3, 0.5, None, is_from_text=True)

    def test_what_a_project_without_a_weight_took_is_charged_as_work_for_none(self, scene: Scene) -> None:
        for project in ("film", "games"):
            scene.submit(project=project)
        scene.execute("UPDATE projects SET weight = 2 WHERE name = 'games'")
        scene.claim(scene.worker())
        charged = {account.project_id for account in scene.fold().charges}
        assert charged == {None, scene.scalar("SELECT id FROM projects WHERE name = 'games'")}

    def test_the_deltas_of_a_deleted_job_are_deleted(self, scene: Scene) -> None:
        scene.submit(images_per_prompt=3)
        scene.claim(scene.worker(), limit=1)
        scene.execute("DELETE FROM jobs")
        assert scene.fold().charges == {}
        assert scene.scalar("SELECT count(*) FROM deltas") == 0

    def test_two_folds_at_once_count_everything_once(self, scene: Scene) -> None:
        for _ in range(6):
            scene.submit(images_per_prompt=3)
        worker_id = scene.worker()
        for _ in range(4):
            scene.publish_all(*scene.claim(worker_id, limit=3))
        owed = scene.scalar(CHARGED)
        charged = [seconds for folded in at_once(scene.fold, scene.fold) for seconds in folded.charges.values()]
        charged += scene.fold().charges.values()
        assert sum(charged) == pytest.approx(owed)
        assert scene.scalar("SELECT count(*) FROM deltas") == 0
        assert scene.counters() == scene.recount()

    def test_a_fold_passes_by_a_line_that_somebody_holds(self, scene: Scene) -> None:
        held, free = scene.submit(images_per_prompt=3), scene.submit(images_per_prompt=3, width=768)
        worker_id = scene.worker()
        scene.claim(worker_id, limit=1)
        scene.priority(free, 90)
        scene.claim(worker_id, limit=1)
        with scene.database.begin() as session:
            session.execute(text("SELECT FROM counters WHERE job_id = :id FOR UPDATE"), {"id": held})
            assert scene.fold().lines == 1
        assert scene.scalar(COUNTED, job_id=free) == "2 1 0"
        assert scene.fold().lines == 1

    def test_the_waiting_lines_are_found_by_an_index_of_deltas(self, scene: Scene) -> None:
        """The farm's ten thousand lines are not looked through for the few that have deltas."""
        many_lines(scene)
        with scene.database.begin() as session:
            query = deltas._WAITING.text.replace(":limit", "500").replace(":most", "20000")
            plan = explain(session, query.replace(":job_ids", "'{}'").replace(":batch_keys", "'{}'"))
        assert "Seq Scan on counters" not in plan


def pile(scene: Scene, worker_id: int, count: int) -> None:
    """So many claims and publishes in turn, of eight images each, of all lines there are, that nobody folded."""
    scene.execute("UPDATE counters SET queued = queued + :images", images=count // 2 * 8)
    scene.execute(
        """
        INSERT INTO deltas (job_id, batch_key, queued, running, succeeded, charged_seconds, worker_id, images,
                            batch, render_seconds)
        SELECT job_id, batch_key, CASE WHEN i % 2 = 0 THEN -8 ELSE 0 END, CASE WHEN i % 2 = 0 THEN 8 ELSE -8 END,
               CASE WHEN i % 2 = 0 THEN 0 ELSE 8 END, 1, :worker, CASE WHEN i % 2 = 1 THEN 8 END, 8, 1
        FROM counters, generate_series(0, :count - 1) i
        """,
        worker=worker_id,
        count=count,
    )


class TestPile:
    """What nobody folded for long, as while the keepers were away."""

    def test_a_pile_is_folded_part_by_part(self, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(deltas, "MOST_DELTAS", 100)
        job_id = scene.submit(images_per_prompt=8)
        pile(scene, scene.worker(), 250)
        counts = scene.counters()
        folds = []
        while scene.scalar("SELECT count(*) FROM deltas"):
            folds.append(scene.fold())
            assert scene.counters() == counts
        assert [folded.has_more for folded in folds] == [True, True, False]
        assert [sum(folded.charges.values()) for folded in folds] == [100, 100, 50]
        assert scene.scalar(COUNTED, job_id=job_id) == "8 0 1000"

    def test_of_a_pile_each_line_has_an_equal_part(self, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
        """Lines that were claimed and published in turn: the oldest deltas are each of another line."""
        monkeypatch.setattr(deltas, "MOST_DELTAS", 100)
        job_ids = [scene.submit(width=width) for width in (64, 128, 192, 256, 320)]
        for _ in range(30):
            pile(scene, scene.worker(), 2)
        with scene.database.begin() as session:
            waiting = deltas.find_waiting(session, limit=2)
        assert [line.job_id for line in waiting.ids] == job_ids[:2]
        assert ([len(ids) for ids in waiting.ids.values()], waiting.has_more) == ([50, 50], True)

    def test_a_fold_brings_so_many_samples_the_newest(self, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
        scene.submit(images_per_prompt=8)
        pile(scene, scene.worker(), 4_200)
        assert len(scene.fold().samples) == deltas.MOST_SAMPLES

    def test_a_high_pile_is_folded_within_the_limits_of_a_keeper(self, scene: Scene) -> None:
        """Postgres ends a keeper's transaction that makes it wait for five seconds."""
        scene.submit(images_per_prompt=8)
        pile(scene, scene.worker(), 60_000)
        keeper = Database(scene.database.url, Role.KEEPER)
        with closing(keeper):
            folding = Folding(keeper)
            while folding.fold().has_more:
                pass
        assert scene.scalar("SELECT count(*) FROM deltas") == 0

    @pytest.mark.parametrize("ending", ["fail", "requeue", "cancel", "claim"])
    def test_a_direct_change_does_not_rewrite_a_pile(self, scene: Scene, ending: str) -> None:
        job_id = scene.submit(images_per_prompt=8)
        worker_id = scene.worker()
        leases = scene.claim(worker_id, limit=4)
        before = scene.counters()
        pile(scene, worker_id, 2 * shifts.MOST_FOLDED)
        match ending:
            case "fail":
                scene.fail(leases[0], is_retryable=False)
            case "requeue":
                scene.hand_back(leases[0])
            case "cancel":
                steering.cancel(scene.database, job_id)
            case "claim":
                scene.claim(worker_id)
        assert scene.scalar(APPENDED) >= 2 * shifts.MOST_FOLDED
        appended = 8 * shifts.MOST_FOLDED
        assert (
            scene.counters()
            == {line: _with(counts, appended) for line, counts in scene.recount().items()}
            != before
        )
        for _ in range(3):
            scene.fold()
        assert scene.scalar("SELECT count(*) FROM deltas") == 0
        assert scene.counters() == {line: _with(counts, appended) for line, counts in scene.recount().items()}

    def test_a_pile_is_folded_in_parts_though_its_line_was_changed_meanwhile(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What was taken away beside the pile is folded after what it takes from."""
        monkeypatch.setattr(deltas, "MOST_DELTAS", 7)
        monkeypatch.setattr(shifts, "MOST_FOLDED", 5)
        job_id = scene.submit(images_per_prompt=8)
        worker_id = scene.worker()
        pile(scene, worker_id, 20)
        leases = scene.claim(worker_id, limit=4)
        scene.fail(leases[0], is_retryable=False)
        scene.hand_back(leases[1])
        steering.retry(scene.database, scene.settings, scene.doorbell, job_id)
        scene.publish(leases[2])
        steering.cancel(scene.database, job_id)
        while scene.scalar("SELECT count(*) FROM deltas"):
            scene.fold()
        assert scene.counters() == {line: _with(counts, 80) for line, counts in scene.recount().items()}

    def test_a_direct_change_deletes_deltas_that_say_nothing_else(self, scene: Scene) -> None:
        scene.submit(images_per_prompt=8)
        lease, *_ = scene.claim(scene.worker(), limit=4)
        scene.execute(
            "INSERT INTO deltas (job_id, batch_key, queued, running) SELECT job_id, batch_key, -1, 1 FROM counters"
        )
        scene.fail(lease, is_retryable=False)
        assert scene.scalar("SELECT count(*) FROM deltas WHERE charged_seconds = 0") == 0


def _with(counts: tuple[int, ...], succeeded: int) -> tuple[int, ...]:
    queued, running, own, *rest = counts
    return (queued, running, own + succeeded, *rest)


class TestCharges:
    @pytest.mark.parametrize("ending", ["publish", "fail", "cancel", "hand_back", "release_dead", "expire"])
    def test_every_ending_settles_what_its_claim_charged(self, scene: Scene, ending: str) -> None:
        """After it an owner is charged what the attempt took, and no estimate."""
        job_id = scene.submit(images_per_prompt=2)
        worker_id = scene.worker()
        leases = scene.claim(worker_id)
        scene.execute("UPDATE attempts SET started_at = started_at - interval '100 s'")
        match ending:
            case "publish":
                scene.publish_all(*leases)
            case "fail":
                for lease in leases:
                    scene.fail(lease)
            case "cancel":
                steering.cancel(scene.database, job_id)
            case "hand_back":
                scene.hand_back(*leases)
            case "release_dead":
                scene.release_dead(worker_id)
            case "expire":
                scene.let_lease_end_of(worker_id)
                scene.expire()
        took = scene.scalar("SELECT sum(gpu_seconds) FROM attempts")
        assert took == (1.0 if ending == "publish" else pytest.approx(100, abs=5))
        assert scene.scalar(CHARGED) == pytest.approx(took)
        scene.fold()
        assert scene.scalar("SELECT gpu_seconds FROM users WHERE name = 'local'") == pytest.approx(took, rel=0.01)

    def test_a_claim_charges_what_its_group_is_expected_to_take(self, scene: Scene) -> None:
        scene.submit(images_per_prompt=2)
        checkpoint_id = a_checkpoint(scene.database)
        scene.execute(
            "WITH g AS (INSERT INTO groups (pool, batch_key, checkpoint_id, seconds) "
            "VALUES ('default', 'measured', :id, 4.5) RETURNING id) UPDATE counters SET group_id = g.id FROM g",
            id=checkpoint_id,
        )
        scene.claim(scene.worker())
        assert scene.scalar(CHARGED) == 9.0
        assert scene.column("SELECT charged_seconds FROM attempts") == [4.5, 4.5]

    @pytest.mark.parametrize("ending", ["cancel", "hand_back", "expire"])
    def test_hours_in_which_nothing_came_are_not_charged(self, scene: Scene, ending: str) -> None:
        """The worker slept, or the farm was switched off."""
        job_id = scene.submit(images_per_prompt=2)
        scene.execute("UPDATE groups SET seconds = 20")
        worker_id = scene.worker()
        leases = scene.claim(worker_id)
        scene.execute("UPDATE attempts SET started_at = started_at - interval '6 hours'")
        match ending:
            case "cancel":
                steering.cancel(scene.database, job_id)
            case "hand_back":
                scene.hand_back(*leases)
            case "expire":
                scene.let_lease_end_of(worker_id)
                scene.expire()
        assert scene.scalar(CHARGED) == pytest.approx(2 * 10 * 20)
        assert scene.scalar("SELECT sum(gpu_seconds) FROM attempts") == pytest.approx(6 * 3600, abs=60)

    def test_an_attempt_that_the_release_before_opened_is_charged_whole(self, scene: Scene) -> None:
        scene.submit()
        [lease] = scene.claim(scene.worker())
        scene.execute("DELETE FROM deltas")
        scene.execute("UPDATE attempts SET charged_seconds = NULL")
        scene.publish(lease)
        assert scene.scalar(CHARGED) == 0.5


class TestRaces:
    """Each with counts that are checked against a recount, and jobs that end when nothing of them is left."""

    def test_the_last_two_images_published_at_once_finish_their_job(self, scene: Scene) -> None:
        worker_id = scene.worker()
        for _ in range(5):
            job_id = scene.submit(images_per_prompt=2)
            first, second = scene.claim(worker_id)
            at_once(lambda one=first: scene.publish(one), lambda one=second: scene.publish(one))
            assert scene.job(job_id).status == "succeeded"
        assert scene.counters() == scene.recount()

    def test_publishes_wait_for_each_other_only_where_their_job_is_about_to_end(self, scene: Scene) -> None:
        job_id = scene.submit(images_per_prompt=18)
        leases = [lease for _ in range(3) for lease in scene.claim(scene.worker())]
        with ThreadPoolExecutor() as threads:
            with scene.database.begin() as session:
                session.execute(text("SELECT FROM jobs WHERE id = :id FOR UPDATE"), {"id": job_id})
                assert scene.publish(leases[0])
                publishing = threads.submit(scene.publish, leases[1])
                scene.wait_for_blocked()
            assert publishing.result()

    def test_a_job_whose_images_end_more_at_once_than_are_looked_at_is_finished_by_the_fold(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        job_id = scene.submit(images_per_prompt=3)
        leases = scene.claim(scene.worker())
        monkeypatch.setattr(lifecycle, "_FEW", -1)
        scene.publish_all(*leases)
        assert scene.job(job_id).status == "active"
        monkeypatch.undo()
        scene.fold()
        assert scene.job(job_id).status == "succeeded"

    def test_a_failure_and_a_publish_that_end_a_job_at_once_finish_it(self, scene: Scene) -> None:
        job_id = scene.submit(images_per_prompt=2)
        first, second = scene.claim(scene.worker())
        with ThreadPoolExecutor() as threads:
            with scene.database.begin() as session:
                endings.publish_all(session, [a_finished(first)])
                failing = threads.submit(scene.fail, second, is_retryable=False)
                scene.wait_for_blocked()
            failing.result()
        assert scene.job(job_id).status == "failed"

    @pytest.mark.parametrize("other", ["requeue", "cancel", "retry", "delete", "publish", "expire", "overdue"])
    def test_a_fold_beside_whatever_changes_its_line_keeps_the_counts_right(self, scene: Scene, other: str) -> None:
        job_id = scene.submit(images_per_prompt=6)
        worker_id = scene.worker()
        a, b, c, d = scene.claim(worker_id, limit=4)
        scene.publish(a)
        if other == "retry":
            scene.fail(b, is_retryable=False)

        def beside() -> None:
            match other:
                case "requeue":
                    scene.hand_back(b, c)
                case "cancel":
                    steering.cancel(scene.database, job_id)
                case "retry":
                    steering.retry(scene.database, scene.settings, scene.doorbell, job_id)
                case "delete":
                    scene.execute("DELETE FROM jobs WHERE id = :id", id=job_id)
                case "publish":
                    scene.publish_all(b, c, d)
                case "expire":
                    scene.let_lease_end_of(worker_id)
                    scene.expire()
                case "overdue":
                    with scene.database.begin() as session:
                        deadlines.cancel_queued(session, job_id, "late")

        at_once(scene.fold, beside, scene.fold)
        assert scene.counters() == scene.recount()
        scene.fold()
        assert scene.scalar("SELECT count(*) FROM deltas") == 0
        assert scene.counters() == scene.recount()

    def test_a_direct_change_folds_first_so_that_no_count_becomes_negative(self, scene: Scene) -> None:
        job_id = scene.submit(images_per_prompt=3)
        lease, _ = scene.claim(scene.worker(), limit=2)
        scene.fail(lease, is_retryable=False)
        assert scene.scalar(COUNTED, job_id=job_id) == "1 1 0"
        assert scene.scalar(APPENDED) == 0
        assert scene.scalar(CHARGED) > 0

    def test_a_retry_that_meets_the_last_publish_leaves_an_open_job(self, scene: Scene) -> None:
        """A publish locks no counters: what it ends meanwhile must not close the job over a queued image."""
        job_id = scene.submit(images_per_prompt=2)
        first, second = scene.claim(scene.worker())
        scene.fail(first, is_retryable=False)
        at_once(
            lambda: steering.retry(scene.database, scene.settings, scene.doorbell, job_id),
            lambda: scene.publish(second),
        )
        assert scene.job(job_id).status == "active"
        assert sorted(scene.statuses(job_id)) == ["queued", "succeeded"]

    def test_the_release_before_may_change_counters_beside_deltas(self, scene: Scene) -> None:
        """Its claim and its publish change the row, without a look at the deltas."""
        job_id = scene.submit(images_per_prompt=8)
        scene.claim(scene.worker(), limit=4)
        a_task = "(SELECT min(id) FROM tasks WHERE status = '{source}' AND seq >= 4)"
        as_before = (
            f"UPDATE tasks SET status = '{{status}}', lease_until = {{lease}}, attempt = 1 WHERE id = {a_task}",
            "UPDATE counters SET {source} = {source} - 1, {status} = {status} + 1",
        )
        for source, status, lease in (("queued", "running", "now()"), ("running", "succeeded", "NULL")):
            for statement in as_before:
                scene.execute(statement.format(source=source, status=status, lease=lease))
            assert scene.counters() == scene.recount()
        scene.fold()
        assert scene.scalar(COUNTED, job_id=job_id) == "3 4 1"
        assert scene.counters() == scene.recount()

    def test_a_job_that_the_release_before_left_open_is_finished_by_the_fold(self, scene: Scene) -> None:
        """It sees no deltas, so to it something seems to be left."""
        job_id = scene.submit(images_per_prompt=3)
        leases = scene.claim(scene.worker(), limit=2)
        scene.execute("UPDATE tasks SET status = 'succeeded' WHERE seq = 2")
        scene.execute("UPDATE counters SET queued = queued - 1, succeeded = succeeded + 1")
        scene.publish_all(*leases)
        scene.fold()
        assert scene.job(job_id).status == "succeeded"

    def test_publishes_of_batches_that_cross_several_jobs_do_not_deadlock(self, scene: Scene) -> None:
        jobs = [scene.submit(images_per_prompt=4, prompts=[f"prompt {n}"]) for n in range(4)]
        worker_id = scene.worker()
        leases = [lease for _ in range(4) for lease in scene.claim(worker_id, limit=8)]
        mixed = [[lease for lease in leases if lease.task_id % 4 == n][:: (1, -1)[n % 2]] for n in range(4)]
        published = at_once(*(lambda held=held: scene.publish_all(*held) for held in mixed), scene.fold, scene.fold)
        assert sum(len(found) for found in published[:4]) == 16
        scene.fold()
        assert [scene.job(job_id).status for job_id in jobs] == ["succeeded"] * 4
        assert scene.counters() == scene.recount()
