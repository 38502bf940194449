"""How a worker keeps what it claimed, by one row: its own."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from sqlalchemy import text

from farm.queue import leases, losses, steering
from tests.factories import LEASE_SECONDS, Scene, a_year_of_workers, explain

LEFT = "SELECT extract(epoch FROM lease_until - now()) FROM workers WHERE id = :id"


def let_attempts_age(scene: Scene, seconds: float) -> None:
    """Time passes: what runs was claimed so much earlier."""
    scene.execute("UPDATE attempts SET started_at = started_at - make_interval(secs => :seconds)", seconds=seconds)


class TestStart:
    def test_the_first_claim_starts_the_lease_of_its_worker(self, scene: Scene) -> None:
        scene.submit()
        worker_id = scene.worker(status="starting")
        assert scene.scalar(LEFT, id=worker_id) is None
        scene.claim(worker_id)
        assert 28 < scene.scalar(LEFT, id=worker_id) <= LEASE_SECONDS

    def test_a_lease_that_runs_for_long_enough_is_not_written_again(self, scene: Scene) -> None:
        worker_id = scene.worker()
        scene.renew(worker_id)
        written = "SELECT xmin::text FROM workers"
        before = scene.scalar(written)
        with scene.database.begin() as session:
            leases.start(session, worker_id, LEASE_SECONDS)
        assert scene.scalar(written) == before

    def test_a_lease_that_ended_or_lies_too_far_ahead_is_started_anew(self, scene: Scene) -> None:
        worker_id = scene.worker()
        for wrong in ("now() - interval '1 s'", "now() + interval '1 s'", "now() + interval '1 day'"):
            scene.execute(f"UPDATE workers SET lease_until = {wrong}")
            with scene.database.begin() as session:
                leases.start(session, worker_id, LEASE_SECONDS)
            assert 28 < scene.scalar(LEFT, id=worker_id) <= LEASE_SECONDS


class TestRenew:
    def test_renewing_moves_the_end_of_the_lease(self, scene: Scene) -> None:
        scene.submit()
        worker_id = scene.worker()
        held = scene.claim(worker_id, lease_seconds=1)
        assert scene.renew(worker_id, *held) == set(held)
        assert scene.scalar(LEFT, id=worker_id) > 20

    def test_renewing_returns_the_leases_that_still_hold(self, scene: Scene) -> None:
        first, second = scene.submit(), scene.submit()
        worker_id = scene.worker()
        held = scene.claim(worker_id)
        steering.cancel(scene.database, first)
        assert [lease.job_id for lease in scene.renew(worker_id, *held)] == [second]

    def test_renewing_writes_no_task(self, scene: Scene) -> None:
        scene.submit(images_per_prompt=4)
        worker_id = scene.worker()
        held = scene.claim(worker_id)
        written = "SELECT string_agg(xmin::text, ' ' ORDER BY id) FROM tasks"
        before = scene.scalar(written)
        assert scene.renew(worker_id, *held) == set(held)
        assert scene.scalar(written) == before

    def test_a_stale_attempt_cannot_renew_the_lease_of_the_next(self, scene: Scene) -> None:
        scene.submit()
        worker_id = scene.worker()
        [stale] = scene.lose(worker_id)
        scene.claim(worker_id)
        assert scene.renew(worker_id, stale) == set()

    def test_a_renewed_lease_does_not_expire(self, scene: Scene) -> None:
        scene.submit()
        worker_id = scene.worker()
        held = scene.claim(worker_id)
        scene.let_lease_end_of(worker_id)
        assert scene.renew(worker_id, *held) == set(held)
        assert scene.expire() == 0

    def test_very_many_leases_are_renewed_at_once(self, scene: Scene) -> None:
        """A full spool holds thousands of images; as pairs in a list they are too many for Postgres' stack."""
        scene.submit(images_per_prompt=2)
        worker_id = scene.worker()
        held = scene.claim(worker_id)
        many = [replace(held[0], task_id=number) for number in range(10_000, 50_000)]
        assert scene.renew(worker_id, *many, *held) == set(held)
        spared = {lease.key for lease in (*many, held[0])}
        assert scene.release_dead(worker_id, spared=spared) == 1

    def test_renewing_no_leases_returns_none(self, scene: Scene) -> None:
        assert scene.renew(scene.worker()) == set()


class TestOverlooked:
    """What a worker runs by the record and does not hold."""

    def test_it_goes_back_after_a_lease(self, scene: Scene) -> None:
        """The answer to the claim's COMMIT was lost."""
        job_id = scene.submit(images_per_prompt=2)
        worker_id = scene.worker()
        scene.claim(worker_id)
        let_attempts_age(scene, LEASE_SECONDS + 1)
        scene.renew(worker_id)
        assert scene.statuses(job_id) == ["queued", "queued"]
        [task, _] = scene.tasks(job_id)
        assert (task.reason, task.attempt_limit) == (losses.OVERLOOKED, scene.settings.max_attempts + 1)
        assert scene.scalar("SELECT count(*) FROM attempts WHERE outcome = 'handed_back'") == 2

    def test_it_stays_before(self, scene: Scene) -> None:
        """It may have been claimed this moment."""
        job_id = scene.submit()
        worker_id = scene.worker()
        scene.claim(worker_id)
        let_attempts_age(scene, LEASE_SECONDS - 5)
        scene.renew(worker_id)
        assert scene.statuses(job_id) == ["running"]

    def test_it_goes_back_though_the_clock_was_set_back(self, scene: Scene) -> None:
        job_id = scene.submit()
        worker_id = scene.worker()
        scene.claim(worker_id)
        let_attempts_age(scene, -86_400)
        scene.renew(worker_id)
        assert scene.statuses(job_id) == ["queued"]

    def test_what_is_held_beside_it_stays(self, scene: Scene) -> None:
        job_id = scene.submit(images_per_prompt=3)
        worker_id = scene.worker()
        held = scene.claim(worker_id)[:2]
        let_attempts_age(scene, LEASE_SECONDS + 1)
        assert scene.renew(worker_id, *held) == set(held)
        assert scene.statuses(job_id) == ["running", "running", "queued"]

    def test_a_task_that_is_overlooked_again_and_again_is_set_aside(self, scene: Scene) -> None:
        """Its end can never be recorded, say: it must not come back for ever."""
        job_id = scene.submit()
        worker_id = scene.worker()
        for _ in range(8):
            assert scene.claim(worker_id)
            let_attempts_age(scene, LEASE_SECONDS + 1)
            scene.renew(worker_id)
        assert scene.statuses(job_id) == ["failed"]


class TestAdopt:
    def test_an_adopted_attempt_is_held_by_its_new_worker(self, scene: Scene) -> None:
        job_id = scene.submit()
        before, after = scene.worker(), scene.worker()
        held = scene.claim(before)
        with scene.database.begin() as session:
            assert leases.adopt(session, after, held, LEASE_SECONDS) == set(held)
        assert scene.tasks(job_id)[0].worker_id == after
        assert scene.release_dead(before) == 0
        scene.let_lease_end_of(before)
        assert scene.expire() == 0

    def test_an_attempt_of_the_release_before_is_held_by_its_new_worker_too(self, scene: Scene) -> None:
        scene.submit()
        after = scene.worker()
        held = scene.claim(scene.worker())
        scene.execute("UPDATE tasks SET lease_until = now() + interval '1 s'")
        with scene.database.begin() as session:
            leases.adopt(session, after, held, LEASE_SECONDS)
        assert scene.scalar("SELECT lease_until = '9999-01-01 00:00:00+00' FROM tasks")

    def test_an_attempt_that_is_over_is_not_adopted(self, scene: Scene) -> None:
        scene.submit()
        [stale] = scene.lose(scene.worker())
        with scene.database.begin() as session:
            assert leases.adopt(session, scene.worker("1"), [stale], LEASE_SECONDS) == set()


class TestExpiry:
    def test_a_worker_that_was_never_heard_of_loses_its_tasks_after_one_lease(self, scene: Scene) -> None:
        scene.submit(images_per_prompt=2)
        worker_id = scene.worker(status="starting")
        assert len(scene.claim(worker_id)) == 2
        assert scene.expire() == 0
        scene.let_lease_end_of(worker_id)
        assert scene.expire() == 2

    def test_a_claim_that_is_committed_after_its_workers_lease_expires(self, scene: Scene) -> None:
        """A process that was stopped within its claim: nothing says then that its lease was started."""
        scene.submit()
        worker_id = scene.worker()
        scene.claim(worker_id)
        scene.execute("UPDATE workers SET lease_until = NULL")
        assert scene.expire() == 1

    def test_what_a_forgotten_worker_holds_expires(self, scene: Scene) -> None:
        scene.submit()
        scene.claim(scene.worker())
        scene.execute("DELETE FROM workers")
        assert scene.expire() == 1

    def test_a_lease_that_stands_longer_than_any_expires(self, scene: Scene) -> None:
        """The database's clock was set back by days."""
        scene.submit()
        scene.claim(scene.worker())
        scene.execute("UPDATE workers SET lease_until = now() + interval '1 day'")
        assert scene.expire() == 1

    def test_a_finite_lease_of_the_release_before_ends_by_itself(self, scene: Scene) -> None:
        scene.submit(images_per_prompt=2)
        worker_id = scene.worker()
        scene.claim(worker_id)
        scene.execute("UPDATE tasks SET lease_until = now() + interval '10 s' WHERE seq = 0")
        scene.let_lease_end_of(worker_id)
        assert scene.expire() == 1
        assert scene.column("SELECT status FROM tasks ORDER BY seq") == ["running", "queued"]

    def test_the_expiry_reads_what_runs_and_no_other_task(self, scene: Scene) -> None:
        scene.submit(images_per_prompt=8)
        scene.execute(
            "INSERT INTO tasks (job_id, seq, status, batch_key, spec, attempt_limit) "
            "SELECT job_id, 100 + n, 'succeeded', batch_key, '{}', 1 FROM tasks, generate_series(1, 20000) n "
            "WHERE seq = 0"
        )
        scene.claim(scene.worker())
        scene.execute("ANALYZE tasks")
        with scene.database.begin() as session:
            query = str(
                losses.expiring().compile(
                    dialect=session.get_bind().dialect, compile_kwargs={"literal_binds": True}
                )
            )
            plan = "\n".join(session.execute(text(f"EXPLAIN {query}")).scalars())
        assert "Seq Scan on tasks" not in plan


def test_a_heartbeat_and_a_claim_of_one_worker_do_not_deadlock(scene: Scene) -> None:
    """The claim waits for counters that the heartbeat wants for what it gives back; each wants the worker's row."""
    job_id = scene.submit(images_per_prompt=3)
    worker_id = scene.worker()
    scene.claim(worker_id, limit=1)
    let_attempts_age(scene, LEASE_SECONDS + 1)
    scene.let_lease_end_of(worker_id)
    with ThreadPoolExecutor(2) as threads:
        with scene.database.begin() as session:
            session.execute(text("SELECT FROM counters FOR UPDATE"))
            claiming = threads.submit(scene.claim, worker_id)
            scene.wait_for_blocked()
            renewing = threads.submit(scene.renew, worker_id)
            scene.wait_for_blocked(2)
        held = claiming.result()
        renewing.result()
    assert len(held) >= 1
    assert set(scene.statuses(job_id)) <= {"running", "queued"}


def test_workers_that_went_long_ago_are_not_read_to_find_leases_that_ended(scene: Scene) -> None:
    scene.submit()
    scene.claim(scene.worker())
    a_year_of_workers(scene)
    with scene.database.begin() as session:
        plan = explain(session, losses.expiring())
    assert "Seq Scan on workers" not in plan, plan
