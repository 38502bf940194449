"""How work changes hands: by claim, lease, publish, failure and loss."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from farm.db.connection import driver_url
from farm.db.events import record
from farm.errors import Raced
from farm.queue import claim as dispatch
from farm.queue import endings, lifecycle, losses, steering
from farm.queue.claimed import Lease
from farm.queue.workers import fleet
from tests.factories import Scene, a_checkpoint, a_user, an_object, claim


def job_ids(leases: tuple[Lease, ...]) -> list[int]:
    return [lease.job_id for lease in leases]


def named(name: str, checkpoint_id: int) -> dict[str, Any]:
    return {"id": checkpoint_id, "name": name, "location": f"/nowhere/{name}", "sha256": "c" * 64}


def kill_in_turn(scene: Scene, workers: list[int], times: int) -> None:
    """So often one of the workers, in turn, claims a task and dies of it."""
    for number in range(times):
        worker_id = workers[number % len(workers)]
        assert scene.claim(worker_id, limit=1)
        scene.release_dead(worker_id, "killed by signal 9")


class TestClaim:
    def test_a_claim_takes_tasks_up_to_its_limit_in_their_order(self, scene: Scene) -> None:
        scene.submit(images_per_prompt=6, seed=10)
        leases = scene.claim(scene.worker(), limit=4)
        assert [lease.spec.seed for lease in leases] == [10, 11, 12, 13]
        assert [lease.attempt for lease in leases] == [1, 1, 1, 1]

    def test_a_claim_names_the_checkpoint_it_needs(self, scene: Scene) -> None:
        scene.submit()
        batch = claim(scene.database, scene.worker())
        assert batch is not None
        assert (batch.checkpoint.name, batch.checkpoint.location) == ("demo", "/nowhere/demo")

    def test_a_claim_says_how_long_its_batch_should_take(self, scene: Scene) -> None:
        scene.submit(images_per_prompt=3)
        scene.execute("UPDATE groups SET seconds = 1.5")
        batch = claim(scene.database, scene.worker(), limit=2)
        assert batch is not None
        assert batch.seconds == pytest.approx(3.0)

    def test_tasks_that_a_worker_passes_over_are_left_to_others(self, scene: Scene) -> None:
        worker_id = scene.worker()
        first, second = scene.submit(width=64), scene.submit(width=128)
        key = str(scene.scalar("SELECT batch_key FROM counters WHERE job_id = :job", job=first))
        assert job_ids(scene.claim(worker_id, passed_over=[key])) == [second]
        assert scene.claim(worker_id, passed_over=[key]) == ()
        batch = claim(scene.database, scene.worker("cpu:1"))
        assert batch is not None
        assert (job_ids(batch.leases), batch.key) == ([first], key)

    def test_a_claim_without_queued_tasks_gets_none(self, scene: Scene) -> None:
        assert claim(scene.database, scene.worker()) is None

    def test_tasks_claimed_together_share_one_batch_key(self, scene: Scene) -> None:
        scene.submit(prompts=[{"prompt": "a"}, {"prompt": "b", "width": 768}, {"prompt": "c"}])
        worker_id = scene.worker()
        batches = [scene.claim(worker_id), scene.claim(worker_id)]
        assert sorted([lease.spec.prompt for lease in batch] for batch in batches) == [["a", "c"], ["b"]]

    def test_a_claimed_task_is_running_under_a_lease_on_the_databases_clock(self, scene: Scene) -> None:
        job_id = scene.submit()
        worker_id = scene.worker()
        scene.claim(worker_id, lease_seconds=30)
        [task] = scene.tasks(job_id)
        assert (task.status, task.attempt, task.worker_id) == ("running", 1, worker_id)
        assert task.lease_until is not None
        assert task.lease_until.year == 9999
        assert 28 < scene.scalar("SELECT extract(epoch FROM lease_until - now()) FROM workers") <= 30

    def test_a_claim_opens_the_record_of_each_attempt(self, scene: Scene) -> None:
        scene.submit(images_per_prompt=2)
        scene.claim(scene.worker())
        assert scene.scalar("SELECT count(*) FROM attempts WHERE outcome = 'running' AND batch_size = 2") == 2

    def test_higher_priority_goes_first(self, scene: Scene) -> None:
        scene.submit(priority=50)
        urgent = scene.submit(priority=60, width=768)
        assert job_ids(scene.claim(scene.worker())) == [urgent]

    def test_the_owner_whose_turn_it_is_goes_first(self, scene: Scene) -> None:
        a_user(scene.database, "greedy")
        a_user(scene.database, "modest")
        scene.submit(owner="greedy", width=768)
        modest = scene.submit(owner="modest")
        scene.set_turn("greedy", 1000)
        scene.set_turn("modest", 100)
        assert job_ids(scene.claim(scene.worker())) == [modest]

    def test_priority_counts_more_than_a_fair_share(self, scene: Scene) -> None:
        a_user(scene.database, "greedy")
        urgent = scene.submit(owner="greedy", priority=51)
        scene.submit(width=768)
        scene.set_turn("greedy", 1000)
        assert job_ids(scene.claim(scene.worker())) == [urgent]

    def test_an_owner_who_comes_back_takes_the_turn_of_what_they_are_owed(self, scene: Scene) -> None:
        a_user(scene.database, "greedy")
        a_user(scene.database, "modest")
        scene.execute(
            "INSERT INTO shares (pool, owner_id, lag) "
            "SELECT 'default', id, CASE name WHEN 'greedy' THEN -900 ELSE 90 END FROM users "
            "WHERE name IN ('greedy', 'modest')"
        )
        scene.submit(owner="greedy")
        modest = scene.submit(owner="modest", width=768)
        assert scene.column("SELECT turn FROM queues ORDER BY turn") == [-90, 900]
        assert job_ids(scene.claim(scene.worker())) == [modest]

    def test_owners_whose_turns_are_close_do_not_alternate_checkpoints(self, scene: Scene) -> None:
        resident = a_checkpoint(scene.database, "resident", sha256="c" * 64)
        a_user(scene.database, "ana")
        scene.submit()
        second = scene.submit(owner="ana", checkpoint="resident")
        scene.set_turn("ana", 10)
        assert job_ids(scene.claim(scene.worker(), preferred=[resident])) == [second]

    def test_publishing_charges_the_owner(self, scene: Scene) -> None:
        scene.submit()
        [lease] = scene.claim(scene.worker())
        scene.publish(lease)
        scene.fold()
        assert scene.scalar("SELECT gpu_seconds FROM users WHERE name = 'local'") == pytest.approx(0.5)

    def test_the_resident_checkpoint_is_preferred_among_equals(self, scene: Scene) -> None:
        resident = a_checkpoint(scene.database, "resident", sha256="c" * 64)
        scene.submit()
        second = scene.submit(checkpoint="resident")
        assert job_ids(scene.claim(scene.worker(), preferred=[resident])) == [second]

    def test_the_resident_checkpoint_never_overtakes_a_higher_priority(self, scene: Scene) -> None:
        resident = a_checkpoint(scene.database, "resident", sha256="c" * 64)
        urgent = scene.submit(priority=51)
        scene.submit(checkpoint="resident")
        assert job_ids(scene.claim(scene.worker(), preferred=[resident])) == [urgent]

    def test_the_oldest_of_equals_goes_first(self, scene: Scene) -> None:
        oldest = scene.submit(width=768)
        scene.submit()
        assert job_ids(scene.claim(scene.worker())) == [oldest]

    def test_a_batch_is_filled_from_other_jobs_with_its_batch_key(self, scene: Scene) -> None:
        submitted = [scene.submit(prompts=[f"prompt {n}"]) for n in range(3)]
        assert job_ids(scene.claim(scene.worker())) == submitted

    def test_a_job_fills_its_batch_with_its_own_tasks_first(self, scene: Scene) -> None:
        scene.submit(images_per_prompt=2)
        urgent = scene.submit(images_per_prompt=3, priority=60)
        assert job_ids(scene.claim(scene.worker(), limit=3)) == [urgent] * 3

    def test_a_deterministic_job_is_rendered_image_by_image(self, scene: Scene) -> None:
        scene.submit(deterministic=True, images_per_prompt=3)
        assert len(scene.claim(scene.worker())) == 1

    def test_a_short_job_spreads_over_all_live_workers(self, scene: Scene) -> None:
        scene.submit(images_per_prompt=4)
        first, second = scene.worker("0"), scene.worker("1")
        assert [len(scene.claim(first)), len(scene.claim(second))] == [2, 1]

    def test_workers_that_are_gone_take_no_part_of_a_short_job(self, scene: Scene) -> None:
        scene.submit(images_per_prompt=4)
        gone = scene.worker("0")
        with scene.database.begin() as session:
            fleet.retire(session, gone, "stopped")
        assert len(scene.claim(scene.worker("1"))) == 4

    def test_a_paused_job_is_not_claimed(self, scene: Scene) -> None:
        steering.pause(scene.database, scene.submit())
        assert scene.claim(scene.worker()) == ()

    def test_a_job_is_not_claimed_before_its_time(self, scene: Scene) -> None:
        scene.submit(not_before="2999-01-01T00:00:00Z")
        assert scene.claim(scene.worker()) == ()

    def test_a_job_whose_time_has_come_is_claimed(self, scene: Scene) -> None:
        scene.submit(not_before="2020-01-01T00:00:00Z")
        assert len(scene.claim(scene.worker())) == 1

    def test_the_work_of_another_pool_is_not_claimed(self, scene: Scene) -> None:
        scene.submit(pool="large")
        assert scene.claim(scene.worker()) == ()
        assert len(scene.claim(scene.worker(pool="large"), pool="large")) == 1

    def test_a_batch_is_not_filled_from_paused_or_later_jobs_or_other_pools(self, scene: Scene) -> None:
        first = scene.submit()
        steering.pause(scene.database, scene.submit())
        scene.submit(not_before="2999-01-01T00:00:00Z")
        scene.submit(pool="large")
        assert job_ids(scene.claim(scene.worker())) == [first]


class TestClaimsAtOnce:
    def test_a_claim_passes_over_a_task_that_another_transaction_holds(self, scene: Scene) -> None:
        scene.submit(images_per_prompt=2, seed=5)
        worker_id = scene.worker()
        with scene.database.begin() as other, scene.database.begin() as session:
            other.execute(text("SELECT FROM tasks WHERE seq = 0 FOR UPDATE"))
            session.execute(text("SET LOCAL lock_timeout = '200ms'"))
            batch = dispatch.claim(session, worker_id, pool="default", limit=1, lease_seconds=30)
        assert batch is not None
        assert batch.leases[0].spec.seed == 6

    def test_a_claim_during_another_claim_gets_other_tasks(self, scene: Scene) -> None:
        scene.submit(images_per_prompt=4)
        worker_id = scene.worker()
        with ThreadPoolExecutor() as threads:
            with scene.database.begin() as session:
                first = dispatch.claim(session, worker_id, pool="default", limit=2, lease_seconds=30)
                waiting = threads.submit(scene.claim, worker_id, limit=2)
                scene.wait_for_blocked()
            second = waiting.result()
        assert first is not None
        assert len({lease.task_id for lease in (*first.leases, *second)}) == 4

    def test_many_workers_never_claim_the_same_task(self, scene: Scene) -> None:
        scene.submit(images_per_prompt=24)
        workers = [scene.worker(str(n)) for n in range(6)]
        with ThreadPoolExecutor(6) as threads:
            claimed = list(chain.from_iterable(threads.map(scene.claim, workers * 4)))
        assert len(claimed) == len({lease.task_id for lease in claimed})
        assert scene.counters() == scene.recount()

    def test_simultaneous_claimers_each_get_one_of_as_many_jobs(self, scene: Scene) -> None:
        """None is empty-handed, though no claim is committed before all are made."""
        for n in range(32):
            scene.submit(width=512 + 8 * n)
        workers = [scene.worker(str(n)) for n in range(32)]
        barrier = threading.Barrier(32)

        def claim_and_hold(worker_id: int) -> tuple[int, ...]:
            connection = create_engine(driver_url(scene.database.url), poolclass=NullPool)
            barrier.wait()
            with Session(connection) as session:
                batch = dispatch.claim(session, worker_id, pool="default", limit=8, lease_seconds=30)
                barrier.wait()
                session.commit()
            connection.dispose()
            return tuple(lease.task_id for lease in batch.leases) if batch else ()

        with ThreadPoolExecutor(32) as threads:
            claimed = list(threads.map(claim_and_hold, workers))
        assert sorted(len(each) for each in claimed) == [1] * 32
        assert len(set(chain.from_iterable(claimed))) == 32

    def test_an_uncommitted_claim_holds_up_nobody(self, scene: Scene) -> None:
        scene.submit(width=768)
        second = scene.submit()
        first_worker, other_worker = scene.worker("0"), scene.worker("1")
        with scene.database.begin() as session, scene.database.begin() as other:
            dispatch.claim(session, first_worker, pool="default", limit=8, lease_seconds=30)
            other.execute(text("SET LOCAL lock_timeout = '200ms'"))
            batch = dispatch.claim(other, other_worker, pool="default", limit=8, lease_seconds=30)
        assert batch is not None
        assert job_ids(batch.leases) == [second]

    def test_a_claim_that_others_left_nothing_says_that_it_raced(self, scene: Scene) -> None:
        scene.submit()
        first_worker, other_worker = scene.worker("0"), scene.worker("1")
        with scene.database.begin() as session:
            assert dispatch.claim(session, first_worker, pool="default", limit=1, lease_seconds=30)
            with pytest.raises(Raced), scene.database.begin() as other:
                dispatch.claim(other, other_worker, pool="default", limit=1, lease_seconds=30)
        with scene.database.begin() as other:
            assert dispatch.claim(other, other_worker, pool="default", limit=1, lease_seconds=30) is None

    def test_a_claim_looks_further_where_the_first_owners_have_nothing_for_it(self, scene: Scene) -> None:
        avoided = a_checkpoint(scene.database)
        a_checkpoint(scene.database, "other", sha256="c" * 64)
        for n in range(40):
            a_user(scene.database, f"owner-{n}")
            scene.submit(owner=f"owner-{n}")
        last = scene.submit(checkpoint="other")
        scene.set_turn("local", 100)
        avoiding, _ = scene.worker("0"), scene.worker("1")
        scene.avoid("host/0", avoided)
        assert job_ids(scene.claim(avoiding)) == [last]


class TestSeat:
    """A worker with a seat takes the work of that seat, while the plan is fresh."""

    def test_a_worker_takes_the_work_of_its_seat_before_what_is_older(self, scene: Scene) -> None:
        scene.submit(width=768, priority=90)
        seated = scene.submit()
        worker_id = scene.worker()
        scene.seat(worker_id, seated)
        assert job_ids(scene.claim(worker_id)) == [seated]

    def test_a_seat_says_how_many_images_are_taken(self, scene: Scene) -> None:
        job_id = scene.submit(images_per_prompt=6)
        worker_id, _ = scene.worker("0"), scene.worker("1")
        scene.seat(worker_id, job_id, images=4)
        assert [len(scene.claim(worker_id, limit=limit)) for limit in (8, 1)] == [4, 1]

    def test_a_claim_names_the_checkpoint_that_the_plan_needs_next(self, scene: Scene) -> None:
        job_id = scene.submit(images_per_prompt=2)
        following = a_checkpoint(scene.database, "following", sha256="c" * 64)
        worker_id = scene.worker()
        scene.seat(worker_id, job_id, images=1)
        batch = claim(scene.database, worker_id)
        assert batch is not None
        assert batch.next_checkpoint is None
        scene.execute("UPDATE seats SET next_checkpoint_id = :id", id=following)
        batch = claim(scene.database, worker_id)
        assert batch is not None
        assert batch.next_checkpoint == replace(batch.checkpoint, **named("following", following))

    def test_the_owner_of_a_seat_goes_first_and_others_fill_the_batch(self, scene: Scene) -> None:
        a_user(scene.database, "ana")
        older, urgent = scene.submit(), scene.submit(priority=90)
        own = scene.submit(owner="ana", images_per_prompt=2)
        worker_id = scene.worker()
        scene.seat(worker_id, own)
        taken = [job_ids(scene.claim(worker_id, limit=1)) for _ in range(4)]
        assert taken == [[own], [own], [urgent], [older]]

    def test_a_seat_without_a_task_left_leaves_its_worker_to_find_work_itself(self, scene: Scene) -> None:
        seated, other = scene.submit(), scene.submit(width=768)
        worker_id = scene.worker()
        scene.seat(worker_id, seated)
        scene.make_old()
        assert [job_ids(scene.claim(worker_id)) for _ in range(2)] == [[seated], [other]]

    @pytest.mark.parametrize("age", ["11 seconds", "1 day", "-1 minute", "-1 day"])
    def test_a_seat_of_a_plan_that_lost_its_leader_is_ignored(self, scene: Scene, age: str) -> None:
        """Or of one that lies ahead: the clock was set back since."""
        older, seated = scene.submit(width=768), scene.submit()
        worker_id = scene.worker()
        scene.seat(worker_id, seated)
        scene.let_plans_age(age)
        assert job_ids(scene.claim(worker_id)) == [older]

    @pytest.mark.parametrize("age", ["11 seconds", "-1 minute"])
    def test_beside_a_plan_without_a_leader_a_worker_takes_what_it_finds(self, scene: Scene, age: str) -> None:
        job_id = scene.submit()
        scene.plan()
        scene.let_plans_age(age)
        assert job_ids(scene.claim(scene.worker())) == [job_id]

    @pytest.mark.parametrize("reason", ["drained", "avoided", "passed over", "paused", "another pool"])
    def test_a_seat_counts_for_nothing_where_its_worker_may_not_take_it(self, scene: Scene, reason: str) -> None:
        pool = "large" if reason == "another pool" else "default"
        seated = scene.submit(pool=pool)
        worker_id, _ = scene.worker("0"), scene.worker("1")
        scene.seat(worker_id, seated)
        match reason:
            case "drained":
                scene.drain("host/0")
            case "avoided":
                scene.avoid("host/0", a_checkpoint(scene.database))
            case "paused":
                steering.pause(scene.database, seated)
        key = str(scene.scalar("SELECT batch_key FROM counters"))
        assert scene.claim(worker_id, passed_over=[key] if reason == "passed over" else []) == ()

    def test_a_claim_by_the_seat_alone_takes_nothing_else_while_the_plan_is_fresh(self, scene: Scene) -> None:
        seated, other = scene.submit(), scene.submit(width=768)
        residents = [scene.scalar("SELECT id FROM checkpoints")]
        worker_id, options = scene.worker(), {"residents": residents, "by_seat_alone": True}
        scene.plan()
        assert scene.claim(worker_id, **options) == ()
        scene.seat(worker_id, seated)
        assert job_ids(scene.claim(worker_id, **options)) == [seated]
        assert scene.claim(worker_id, **options) == ()
        scene.let_plans_age()
        assert job_ids(scene.claim(worker_id, **options)) == [other]

    def test_a_task_that_failed_before_is_tried_alone_in_a_seat_too(self, scene: Scene) -> None:
        job_id = scene.submit(images_per_prompt=3)
        worker_id = scene.worker()
        scene.seat(worker_id, job_id)
        for lease in scene.claim(worker_id):
            scene.fail(lease)
        assert [len(scene.claim(worker_id)) for _ in range(3)] == [1, 1, 1]

    @pytest.mark.parametrize(("seconds", "is_taken"), [(0, False), (80, False), (100, True), (-60, True)])
    def test_work_that_needs_another_checkpoint_is_left_to_the_plan_for_a_while(
        self, scene: Scene, seconds: int, is_taken: bool
    ) -> None:
        scene.submit()
        worker_id = scene.worker()
        scene.plan()
        scene.make_old(seconds)
        assert bool(scene.claim(worker_id)) is is_taken

    @pytest.mark.parametrize(("seconds", "is_taken"), [(100, False), (1000, True)])
    def test_a_worker_with_a_seat_leaves_what_it_would_have_to_load_for_longer(
        self, scene: Scene, seconds: int, is_taken: bool
    ) -> None:
        seated, _ = scene.submit(), scene.submit(width=768)
        worker_id = scene.worker()
        scene.seat(worker_id, seated)
        scene.claim(worker_id)
        scene.make_old(seconds)
        assert bool(scene.claim(worker_id)) is is_taken

    @pytest.mark.parametrize(("seconds", "is_taken"), [(2, False), (10, True)])
    def test_what_failed_elsewhere_is_taken_soon_beside_a_plan(
        self, scene: Scene, seconds: int, is_taken: bool
    ) -> None:
        scene.submit()
        one, other = scene.worker("0"), scene.worker("1")
        [lease] = scene.claim(one)
        scene.fail(lease)
        scene.plan()
        scene.make_old(seconds)
        assert bool(scene.claim(other)) is is_taken

    def test_interactive_work_of_the_seats_owner_goes_before_their_bulk(self, scene: Scene) -> None:
        bulk = scene.submit(images_per_prompt=6, priority=90)
        deadline = scene.submit(images_per_prompt=6, deadline="2999-01-01T00:00:00Z")
        interactive = scene.submit()
        worker_id = scene.worker()
        scene.seat(worker_id, bulk)
        taken = [job_ids(scene.claim(worker_id, limit=limit)) for limit in (1, 6, 1)]
        assert taken == [[interactive], [deadline] * 6, [bulk]]

    def test_work_for_a_resident_checkpoint_is_taken_at_once_beside_a_plan(self, scene: Scene) -> None:
        job_id = scene.submit()
        worker_id = scene.worker()
        scene.plan()
        assert job_ids(scene.claim(worker_id, residents=[a_checkpoint(scene.database)])) == [job_id]


class TestMostDevices:
    """A job that may have only so many devices."""

    def test_a_job_gets_no_more_devices_than_it_may_have(self, scene: Scene) -> None:
        job_id = scene.submit(images_per_prompt=9, max_devices=2)
        workers = [scene.worker(str(n)) for n in range(3)]
        assert [len(scene.claim(worker_id, limit=2)) for worker_id in workers] == [2, 2, 0]
        assert job_ids(scene.claim(workers[0], limit=2)) == [job_id] * 2

    def test_all_batch_keys_of_a_job_count_together(self, scene: Scene) -> None:
        scene.submit(prompts=[{"prompt": "a", "width": width} for width in (512, 768)], max_devices=1)
        assert [len(scene.claim(scene.worker(str(n)))) for n in range(2)] == [1, 0]

    def test_a_device_that_ends_makes_room_for_another(self, scene: Scene) -> None:
        scene.submit(images_per_prompt=2, max_devices=1)
        first, second = scene.worker("0"), scene.worker("1")
        leases = scene.claim(first, limit=1)
        assert scene.claim(second, limit=1) == ()
        scene.publish(leases[0])
        assert len(scene.claim(second, limit=1)) == 1

    def test_a_batch_of_others_is_not_filled_from_a_job_that_has_its_devices(self, scene: Scene) -> None:
        scene.submit(images_per_prompt=3, max_devices=1)
        first, second = scene.worker("0"), scene.worker("1")
        scene.claim(first, limit=1)
        other = scene.submit(images_per_prompt=2)
        assert job_ids(scene.claim(second)) == [other] * 2

    def test_a_seat_gives_a_job_no_more_devices(self, scene: Scene) -> None:
        job_id = scene.submit(images_per_prompt=3, max_devices=1)
        first, second = scene.worker("0"), scene.worker("1")
        scene.claim(first, limit=1)
        scene.seat(second, job_id)
        assert scene.claim(second) == ()

    @pytest.mark.parametrize("widths", [(512, 512), (512, 768)], ids=["one batch key", "two"])
    def test_two_claims_at_once_do_not_both_take_the_last_device(
        self, scene: Scene, widths: tuple[int, ...]
    ) -> None:
        scene.submit(prompts=[{"prompt": "a", "width": width} for width in widths], max_devices=1)
        first, second = scene.worker("0"), scene.worker("1")
        with scene.database.begin() as session:
            assert dispatch.claim(session, first, pool="default", limit=1, lease_seconds=30)
            with scene.database.begin() as other, pytest.raises(Raced):
                dispatch.claim(other, second, pool="default", limit=1, lease_seconds=30)
        assert scene.claim(second) == ()

    @pytest.mark.parametrize("has_seat", [True, False], ids=["by seat", "by itself"])
    def test_a_job_whose_devices_are_being_counted_keeps_nobody_from_the_work_of_others(
        self, scene: Scene, has_seat: bool
    ) -> None:
        limited = scene.submit(images_per_prompt=40, max_devices=1, priority=60)
        other = scene.submit(images_per_prompt=40)
        workers = [scene.worker(str(n)) for n in range(3)]
        for worker_id in workers[:2] if has_seat else ():
            scene.seat(worker_id, limited)
        take = partial(dispatch.claim, pool="default", limit=4, lease_seconds=30)
        with scene.database.begin() as session:
            assert take(session, workers[0])
            with pytest.raises(Raced) as raced, scene.database.begin() as second:
                take(second, workers[1])
            assert raced.value.jobs == {limited}
            with scene.database.begin() as second:
                batch = take(second, workers[1], without_jobs=raced.value.jobs)
        assert batch is not None
        assert set(job_ids(batch.leases)) == {other}
        with scene.database.begin() as session:
            assert take(session, workers[2], without_jobs=[limited, other]) is None

    def test_a_job_that_may_have_every_device_is_not_locked(self, scene: Scene) -> None:
        scene.submit(images_per_prompt=9, max_devices=2)
        first, second = scene.worker("0"), scene.worker("1")
        with scene.database.begin() as session, scene.database.begin() as other:
            for each, worker_id in ((session, first), (other, second)):
                assert dispatch.claim(each, worker_id, pool="default", limit=2, lease_seconds=30)


class TestRetryElsewhere:
    """Not on the device that just failed it, while another one may take it."""

    def test_a_task_that_failed_on_a_device_is_left_to_another(self, scene: Scene) -> None:
        job_id = scene.submit()
        failing, other = scene.worker("0"), scene.worker("1")
        scene.fail(*scene.claim(failing))
        assert scene.claim(failing) == ()
        assert job_ids(scene.claim(other)) == [job_id]

    def test_a_task_that_lost_its_worker_is_left_to_another_device(self, scene: Scene) -> None:
        scene.submit()
        dying, other = scene.worker("0"), scene.worker("1")
        scene.claim(dying)
        scene.release_dead(dying)
        assert scene.claim(scene.worker("0")) == ()
        assert len(scene.claim(other)) == 1

    def test_a_task_that_failed_everywhere_is_tried_again_anywhere(self, scene: Scene) -> None:
        scene.submit()
        workers = scene.worker("0"), scene.worker("1")
        for worker_id in workers:
            scene.fail(*scene.claim(worker_id))
        assert len(scene.claim(workers[0])) == 1

    @pytest.mark.parametrize(
        "reason", ["gone", "starting", "draining", "drained", "troubled", "silent", "elsewhere", "avoiding"]
    )
    def test_a_task_is_tried_on_the_same_device_where_no_other_may_take_it(self, scene: Scene, reason: str) -> None:
        scene.submit()
        failing = scene.worker("0")
        pool = "large" if reason == "elsewhere" else "default"
        status = {"gone": "offline", "starting": "starting", "draining": "draining"}.get(reason, "idle")
        other = scene.worker("1", pool, status)
        scene.fail(*scene.claim(failing))
        match reason:
            case "drained":
                scene.drain("host/1")
            case "troubled":
                scene.trouble(other)
            case "silent":
                scene.execute(
                    "UPDATE workers SET last_seen_at = now() - interval '1 minute' WHERE id = :id", id=other
                )
            case "avoiding":
                scene.avoid("host/1", a_checkpoint(scene.database))
        assert len(scene.claim(failing)) == 1

    def test_a_worker_that_leaves_a_task_to_others_takes_the_next_job(self, scene: Scene) -> None:
        scene.submit(priority=60)
        failing, _ = scene.worker("0"), scene.worker("1")
        scene.fail(*scene.claim(failing))
        next_job = scene.submit(width=768)
        assert job_ids(scene.claim(failing)) == [next_job]

    def test_a_worker_takes_the_first_failed_task_that_it_did_not_fail_itself(self, scene: Scene) -> None:
        scene.submit(images_per_prompt=2, seed=0)
        first, second = scene.worker("0"), scene.worker("1")
        for worker_id in (first, second):
            scene.fail(*scene.claim(worker_id, limit=1))
        assert [lease.spec.seed for lease in scene.claim(first)] == [1]
        assert [lease.spec.seed for lease in scene.claim(second)] == [0]

    def test_a_task_is_left_to_others_for_some_minutes_only(self, scene: Scene) -> None:
        """They may be busy with other work for hours."""
        scene.submit()
        failing, _ = scene.worker("0"), scene.worker("1", status="busy")
        scene.fail(*scene.claim(failing))
        scene.execute("UPDATE attempts SET ended_at = ended_at - interval '11 minutes'")
        assert len(scene.claim(failing)) == 1

    def test_many_jobs_that_are_left_to_others_do_not_hide_an_untried_one(self, scene: Scene) -> None:
        failing, _ = scene.worker("0"), scene.worker("1")
        for _ in range(40):
            scene.submit()
            scene.fail(*scene.claim(failing, limit=1))
        untried = scene.submit()
        assert job_ids(scene.claim(failing)) == [untried]


class TestPublish:
    def test_publishing_gives_the_task_its_result(self, scene: Scene) -> None:
        job_id = scene.submit()
        [lease] = scene.claim(scene.worker())
        assert scene.publish(lease)
        assert scene.statuses(job_id) == ["succeeded"]
        assert scene.scalar("SELECT key FROM results JOIN artifacts a ON a.id = image_id") == (
            f"result/{lease.task_id}-1.png"
        )

    def test_publishing_closes_the_attempt_with_its_figures(self, scene: Scene) -> None:
        scene.submit()
        [lease] = scene.claim(scene.worker())
        scene.publish(lease)
        closed = "SELECT gpu_seconds FROM attempts WHERE outcome = 'succeeded' AND ended_at IS NOT NULL"
        assert scene.scalar(closed) == pytest.approx(0.5)

    def test_the_last_publish_finishes_the_job(self, scene: Scene) -> None:
        job_id = scene.submit(images_per_prompt=2)
        first, second = scene.claim(scene.worker())
        scene.publish(first)
        assert scene.job(job_id).status == "active"
        scene.publish(second)
        assert scene.job(job_id).status == "succeeded"
        assert scene.job(job_id).finished_at is not None

    def test_a_worker_that_lost_its_lease_cannot_finish_the_task(self, scene: Scene) -> None:
        scene.submit()
        [stale] = scene.lose(scene.worker())
        before = scene.contents()
        assert not scene.publish(stale)
        assert scene.contents() == before

    def test_a_stale_attempt_cannot_publish_over_the_next_one(self, scene: Scene) -> None:
        scene.submit()
        worker_id = scene.worker()
        [stale] = scene.lose(worker_id)
        [current] = scene.claim(worker_id)
        before = scene.contents()
        assert not scene.publish(stale)
        assert scene.contents() == before
        assert scene.publish(current)

    def test_a_stale_attempt_cannot_publish_after_the_next_one_did(self, scene: Scene) -> None:
        scene.submit()
        worker_id = scene.worker()
        [stale] = scene.lose(worker_id)
        [current] = scene.claim(worker_id)
        scene.publish(current)
        assert not scene.publish(stale)
        assert scene.scalar("SELECT attempt FROM results") == 2

    def test_repeating_a_publish_is_harmless(self, scene: Scene) -> None:
        scene.submit()
        [lease] = scene.claim(scene.worker())
        scene.publish(lease)
        before = scene.contents()
        assert scene.publish(lease)
        assert scene.contents() == before

    def test_publishing_twice_at_once_makes_one_result(self, scene: Scene) -> None:
        scene.submit()
        leases = scene.claim(scene.worker())
        with ThreadPoolExecutor(2) as threads:
            assert list(threads.map(scene.publish, leases * 2)) == [True, True]
        assert scene.scalar("SELECT count(*) FROM results") == 1
        assert scene.counters() == scene.recount()

    def test_a_cancelled_task_cannot_be_published(self, scene: Scene) -> None:
        job_id = scene.submit()
        [lease] = scene.claim(scene.worker())
        steering.cancel(scene.database, job_id)
        assert not scene.publish(lease)
        assert scene.statuses(job_id) == ["cancelled"]

    def test_a_publish_that_fails_half_way_leaves_the_task_running(self, scene: Scene) -> None:
        job_id = scene.submit()
        [lease] = scene.claim(scene.worker())
        with scene.database.begin() as session:
            objects = an_object("result", lease), an_object("thumbnail", lease)
            endings.publish(session, lease, *objects, provenance={}, timings={}, gpu_seconds=1)
            session.rollback()
        assert scene.statuses(job_id) == ["running"]
        assert scene.publish(lease)

    def test_the_last_images_of_two_batch_keys_published_at_once_finish_the_job(self, scene: Scene) -> None:
        job_id = scene.submit(prompts=[{"prompt": "a"}, {"prompt": "b", "width": 768}])
        worker_id = scene.worker()
        [first], [second] = scene.claim(worker_id), scene.claim(worker_id)
        with ThreadPoolExecutor() as threads:
            with scene.database.begin() as session:
                objects = an_object("result", first), an_object("thumbnail", first)
                endings.publish(session, first, *objects, provenance={}, timings={}, gpu_seconds=1)
                waiting = threads.submit(scene.publish, second)
                scene.wait_for_blocked()
            assert waiting.result()
        assert scene.job(job_id).status == "succeeded"

    def test_the_memory_relief_of_a_published_task_is_stored(self, scene: Scene) -> None:
        scene.submit(images_per_prompt=2)
        first, second = scene.claim(scene.worker())
        scene.publish(first, relief=["batch halved", "attention slicing"])
        scene.publish(second)
        kept = scene.scalar("SELECT jsonb_agg(relief ORDER BY task_id) FROM attempts")
        assert kept == [["batch halved", "attention slicing"], None]


class TestFail:
    def test_a_retryable_failure_queues_the_task_again(self, scene: Scene) -> None:
        job_id = scene.submit()
        [lease] = scene.claim(scene.worker())
        assert scene.fail(lease, "the device broke")
        [task] = scene.tasks(job_id)
        assert (task.status, task.reason, task.lease_until) == ("queued", "the device broke", None)

    def test_a_failure_that_is_not_retryable_is_final(self, scene: Scene) -> None:
        job_id = scene.submit()
        [lease] = scene.claim(scene.worker())
        assert not scene.fail(lease, "the weights are torn", is_retryable=False)
        [task] = scene.tasks(job_id)
        assert (task.status, task.reason) == ("failed", "the weights are torn")

    def test_a_task_without_tries_left_is_failed(self, scene: Scene) -> None:
        job_id = scene.submit()
        worker_id = scene.worker()
        attempts = [scene.fail(*scene.claim(worker_id)) for _ in range(3)]
        assert attempts == [True, True, False]
        assert scene.statuses(job_id) == ["failed"]

    def test_a_job_with_failed_images_ends_failed_and_says_how_many(self, scene: Scene) -> None:
        job_id = scene.submit(images_per_prompt=2)
        first, second = scene.claim(scene.worker())
        scene.fail(first, is_retryable=False)
        scene.publish(second)
        job = scene.job(job_id)
        assert (job.status, job.reason) == ("failed", "1 of its images failed")

    def test_a_failed_attempt_keeps_its_error(self, scene: Scene) -> None:
        scene.submit()
        [lease] = scene.claim(scene.worker())
        scene.fail(lease, "the device broke")
        assert scene.scalar("SELECT error FROM attempts WHERE outcome = 'failed'") == "the device broke"

    @pytest.mark.parametrize("is_retryable", [True, False])
    def test_a_failed_attempt_keeps_its_memory_relief(self, scene: Scene, is_retryable: bool) -> None:
        scene.submit()
        [lease] = scene.claim(scene.worker())
        scene.fail(lease, is_retryable=is_retryable, relief=["batch halved"])
        assert scene.scalar("SELECT relief FROM attempts WHERE outcome = 'failed'") == ["batch halved"]

    @pytest.mark.parametrize("is_retryable", [True, False])
    def test_a_worker_that_lost_its_lease_cannot_fail_the_task(self, scene: Scene, is_retryable: bool) -> None:
        scene.submit()
        worker_id = scene.worker()
        [stale] = scene.lose(worker_id)
        scene.claim(worker_id)
        before = scene.contents()
        assert not scene.fail(stale, is_retryable=is_retryable)
        assert scene.contents() == before

    def test_the_last_images_of_two_batch_keys_failing_at_once_finish_the_job(self, scene: Scene) -> None:
        job_id = scene.submit(prompts=[{"prompt": "a"}, {"prompt": "b", "width": 768}])
        worker_id = scene.worker()
        [first], [second] = scene.claim(worker_id), scene.claim(worker_id)
        with ThreadPoolExecutor() as threads:
            with scene.database.begin() as session:
                endings.fail(session, first, "torn weights", is_retryable=False)
                waiting = threads.submit(scene.fail, second, is_retryable=False)
                scene.wait_for_blocked()
            waiting.result()
        assert scene.job(job_id).status == "failed"


class TestHandBack:
    def test_a_task_handed_back_keeps_all_its_tries(self, scene: Scene) -> None:
        job_id = scene.submit()
        worker_id = scene.worker()
        scene.hand_back(*scene.claim(worker_id))
        attempts = [scene.fail(*scene.claim(worker_id)) for _ in range(3)]
        assert attempts == [True, True, False]
        assert scene.statuses(job_id) == ["failed"]

    def test_a_whole_batch_is_handed_back(self, scene: Scene) -> None:
        job_id = scene.submit(images_per_prompt=3)
        scene.hand_back(*scene.claim(scene.worker()))
        assert scene.statuses(job_id) == ["queued"] * 3
        assert scene.scalar("SELECT count(*) FROM attempts WHERE outcome = 'handed_back'") == 3

    def test_a_lost_task_cannot_be_handed_back(self, scene: Scene) -> None:
        scene.submit()
        worker_id = scene.worker()
        stale = scene.lose(worker_id)
        scene.claim(worker_id)
        before = scene.contents()
        scene.hand_back(*stale)
        assert scene.contents() == before


class TestLoss:
    def test_a_lease_that_ended_is_given_back(self, scene: Scene) -> None:
        job_id = scene.submit(images_per_prompt=2)
        leases = scene.claim(scene.worker())
        scene.let_leases_end(leases[0])
        assert scene.expire() == 1
        assert scene.statuses(job_id) == ["queued", "running"]

    def test_a_lease_that_runs_is_left_alone(self, scene: Scene) -> None:
        scene.submit()
        scene.claim(scene.worker())
        before = scene.contents()
        assert scene.expire() == 0
        assert scene.contents() == before

    def test_two_keepers_do_not_wait_for_each_other(self, scene: Scene) -> None:
        scene.submit()
        scene.let_leases_end(*scene.claim(scene.worker()))
        with scene.database.begin() as first, scene.database.begin() as second:
            second.execute(text("SET LOCAL lock_timeout = '200ms'"))
            assert losses.expire(first) == 1
            assert losses.expire(second) == 0

    def test_a_dead_worker_gives_back_all_it_held_and_nothing_else(self, scene: Scene) -> None:
        job_id = scene.submit(images_per_prompt=3)
        dead, alive = scene.worker("0"), scene.worker("1")
        scene.claim(dead, limit=2)
        scene.claim(alive)
        assert scene.release_dead(dead) == 2
        assert sorted(scene.statuses(job_id)) == ["queued", "queued", "running"]

    def test_an_image_that_a_dead_worker_left_on_its_disk_stays_leased(self, scene: Scene) -> None:
        job_id = scene.submit(images_per_prompt=3)
        worker_id = scene.worker()
        spared, *_ = scene.claim(worker_id)
        assert scene.release_dead(worker_id, spared={(spared.task_id, spared.attempt)}) == 2
        assert scene.statuses(job_id) == ["running", "queued", "queued"]
        assert scene.publish(spared)

    def test_the_last_log_lines_of_a_dead_worker_are_stored(self, scene: Scene) -> None:
        job_id = scene.submit(images_per_prompt=2)
        worker_id = scene.worker()
        first, _ = scene.claim(worker_id)
        scene.scalar("UPDATE tasks SET losses = 7 WHERE id = :id RETURNING id", id=first.task_id)
        scene.release_dead(worker_id, log_tail="CUDA error: an illegal memory access")
        assert scene.statuses(job_id) == ["failed", "queued"]
        assert scene.scalar("SELECT count(*) FROM attempts WHERE log_tail LIKE 'CUDA error%'") == 2

    def test_releasing_a_dead_worker_twice_is_harmless(self, scene: Scene) -> None:
        scene.submit()
        worker_id = scene.worker()
        scene.claim(worker_id)
        scene.release_dead(worker_id)
        assert scene.release_dead(worker_id) == 0

    def test_a_task_that_killed_all_its_workers_is_quarantined_with_the_evidence(self, scene: Scene) -> None:
        job_id = scene.submit()
        kill_in_turn(scene, [scene.worker("0"), scene.worker("1")], 6)
        [task] = scene.tasks(job_id)
        assert task.status == "failed"
        assert task.reason == f"{losses.QUARANTINED}; last: killed by signal 9"
        assert scene.scalar("SELECT count(*) FROM attempts WHERE outcome = 'lost'") == 6

    def test_losses_use_up_no_tries(self, scene: Scene) -> None:
        job_id = scene.submit()
        workers = [scene.worker(str(device)) for device in range(4)]
        kill_in_turn(scene, workers, 5)
        [task] = scene.tasks(job_id)
        assert (task.status, task.losses) == ("queued", 5)
        assert task.attempt_limit - task.attempt == scene.settings.max_attempts
        [lease] = scene.claim(workers[1])
        assert scene.fail(lease)

    def test_losses_on_one_worker_alone_quarantine_a_task_later(self, scene: Scene) -> None:
        job_id = scene.submit()
        worker_id = scene.worker()
        kill_in_turn(scene, [worker_id], 7)
        assert scene.statuses(job_id) == ["queued"]
        kill_in_turn(scene, [worker_id], 1)
        assert scene.statuses(job_id) == ["failed"]

    def test_leases_that_end_count_as_losses_do(self, scene: Scene) -> None:
        job_id = scene.submit()
        for _ in range(5):
            scene.lose(scene.worker("0"))
        assert scene.statuses(job_id) == ["queued"]
        scene.scalar(
            "DELETE FROM workers WHERE name = 'host/0' AND id <> (SELECT max(id) FROM workers) RETURNING id"
        )
        scene.lose(scene.worker("1"))
        assert scene.statuses(job_id) == ["failed"]

    def test_a_retry_by_hand_forgets_losses(self, scene: Scene) -> None:
        job_id = scene.submit()
        kill_in_turn(scene, [scene.worker("0"), scene.worker("1")], 6)
        steering.retry(scene.database, scene.settings, scene.doorbell, job_id)
        assert scene.tasks(job_id)[0].losses == 0

    def test_a_task_whose_worker_died_is_tried_again_alone(self, scene: Scene) -> None:
        scene.submit(images_per_prompt=3)
        worker_id = scene.worker()
        scene.claim(worker_id)
        scene.release_dead(worker_id)
        assert len(scene.claim(worker_id)) == 1

    def test_a_task_that_kills_its_workers_does_not_take_its_batch_along(self, scene: Scene) -> None:
        job_id = scene.submit(images_per_prompt=3)
        worker_id = scene.worker()
        scene.claim(worker_id)
        scene.release_dead(worker_id)
        killer, *others = (scene.claim(worker_id)[0] for _ in range(3))
        assert [scene.publish(other) for other in others] == [True, True]
        scene.release_dead(worker_id)
        kill_in_turn(scene, [worker_id], 6)
        assert scene.statuses(job_id) == ["failed", "succeeded", "succeeded"]
        assert scene.tasks(job_id)[0].id == killer.task_id

    def test_a_task_whose_worker_died_does_not_wait_for_younger_jobs(self, scene: Scene) -> None:
        oldest = scene.submit()
        worker_id = scene.worker()
        scene.claim(worker_id)
        scene.release_dead(worker_id)
        scene.submit()
        assert job_ids(scene.claim(worker_id)) == [oldest]

    def test_a_task_whose_worker_died_lets_the_untried_go_first(self, scene: Scene) -> None:
        scene.submit(images_per_prompt=3, seed=0)
        worker_id = scene.worker()
        scene.claim(worker_id, limit=1)
        scene.release_dead(worker_id)
        assert [lease.spec.seed for lease in scene.claim(worker_id)] == [1, 2]
        assert [lease.spec.seed for lease in scene.claim(worker_id)] == [0]

    def test_releasing_a_dead_worker_does_not_deadlock_with_a_publish_of_its_batch(self, scene: Scene) -> None:
        scene.submit(images_per_prompt=2)
        worker_id = scene.worker()
        first, second = scene.claim(worker_id)
        with scene.database.begin() as session:
            session.execute(text("UPDATE tasks SET losses = 7 WHERE id = :id"), {"id": second.task_id})
        with ThreadPoolExecutor() as threads:
            with scene.database.begin() as session:
                session.execute(text("SELECT FROM tasks WHERE id = :id FOR UPDATE"), {"id": second.task_id})
                waiting = threads.submit(scene.release_dead, worker_id)
                scene.wait_for_blocked()
                objects = an_object("result", second), an_object("thumbnail", second)
                endings.publish(session, second, *objects, provenance={}, timings={}, gpu_seconds=1)
            assert waiting.result() == 1
        assert [task.attempt for task in scene.tasks(first.job_id)] == [1, 1]
        assert scene.statuses(first.job_id) == ["queued", "succeeded"]


def test_an_image_that_a_stopped_worker_left_on_its_disk_stays_leased(scene: Scene) -> None:
    job_id = scene.submit(images_per_prompt=2)
    worker_id = scene.worker()
    _, spared = scene.claim(worker_id)
    with scene.database.begin() as session:
        endings.hand_back_all(session, worker_id, "stopped", spared=[(spared.task_id, spared.attempt)])
    assert scene.statuses(job_id) == ["queued", "running"]


def test_tasks_of_a_stopped_worker_go_back_without_using_a_try(scene: Scene) -> None:
    job_id = scene.submit()
    worker_id = scene.worker()
    scene.claim(worker_id)
    with scene.database.begin() as session:
        endings.hand_back_all(session, worker_id, "the worker was stopped")
    (task,) = scene.tasks(job_id)
    assert (task.status, task.attempt, task.attempt_limit) == ("queued", 1, scene.settings.max_attempts + 1)


class TestUnreadable:
    def test_a_spec_that_cannot_be_read_is_claimed_apart_from_the_readable_ones(self, scene: Scene) -> None:
        scene.submit(images_per_prompt=2)
        scene.scalar('UPDATE tasks SET spec = \'{"mode": "hologram"}\' WHERE seq = 0 RETURNING id')
        batch = claim(scene.database, scene.worker())
        assert batch is not None
        assert [len(batch.leases), len(batch.unreadable)] == [1, 1]
        assert "hologram" in batch.unreadable[0].error


def lock_while(scene: Scene, counters: str, first: Callable[[], object], second: Callable[[], object]) -> None:
    """Hold some counters until both, in this order, wait for them or for each other; then let them go on."""
    with ThreadPoolExecutor() as threads:
        with scene.database.begin() as session:
            session.execute(text(f"SELECT FROM counters WHERE {counters} FOR UPDATE"))
            running = [threads.submit(first)]
            scene.wait_for_blocked()
            running.append(threads.submit(second))
            scene.wait_for_blocked(2)
        for future in running:
            future.result()
    assert scene.counters() == scene.recount()


def test_two_workers_that_die_with_tasks_of_the_same_jobs_do_not_deadlock(scene: Scene) -> None:
    """One loses a task of the earlier job for the last time: that is moved after the one of the later job."""
    earlier, later = scene.submit(images_per_prompt=2), scene.submit(images_per_prompt=2, width=768)
    ordered, crossed = scene.worker("0"), scene.worker("1")
    for worker_id in (ordered, crossed):
        scene.claim(worker_id, limit=1)
    for worker_id, job_id in ((ordered, later), (crossed, later)):
        scene.priority(job_id, 90)
        assert [lease.job_id for lease in scene.claim(worker_id, limit=1)] == [later]
    scene.execute(
        "UPDATE tasks SET losses = 7 WHERE job_id = :job_id AND worker_id = :worker_id",
        job_id=earlier,
        worker_id=crossed,
    )
    lock_while(
        scene, f"job_id = {earlier}", partial(scene.release_dead, ordered), partial(scene.release_dead, crossed)
    )


def test_a_worker_that_dies_and_a_retry_by_hand_do_not_deadlock(scene: Scene) -> None:
    """The retry moves tasks of the later key, and opens all keys of the job."""
    job_id = scene.submit(prompts=[{"prompt": "a", "width": width, "images_per_prompt": 2} for width in (512, 768)])
    dying, other = scene.worker("0"), scene.worker("1")
    while leases := scene.claim(dying, limit=1) + scene.claim(other, limit=1):
        last = leases
    assert last
    first_key, last_key = sorted({task.batch_key for task in scene.tasks(job_id)})
    of_other = "SELECT id FROM tasks WHERE batch_key = :key AND worker_id = :worker"
    failing = scene.scalar(of_other, key=last_key, worker=other)
    [lease] = [x for x in last if x.task_id == failing] or [replace(last[-1], task_id=failing)]
    scene.fail(lease, is_retryable=False)
    retry = partial(steering.retry, scene.database, scene.settings, scene.doorbell, job_id)
    lock_while(scene, f"batch_key = '{first_key}'", partial(scene.release_dead, dying), retry)


@pytest.mark.parametrize("error", ["a NUL\0 in it", "half a character \ud800"], ids=["NUL", "surrogate"])
def test_an_error_of_any_characters_is_stored(scene: Scene, error: str) -> None:
    """What could not be stored would be taken for a loss, and its evidence be gone."""
    job_id = scene.submit(images_per_prompt=2)
    worker_id = scene.worker()
    failed, _ = scene.claim(worker_id)
    scene.fail(failed, error, is_retryable=False)
    assert scene.release_dead(worker_id, error, log_tail=error) == 1
    assert scene.statuses(job_id) == ["failed", "queued"]
    scene.trouble(worker_id, error)


def test_checking_whether_a_job_is_done_does_not_block_its_events(scene: Scene) -> None:
    """Two workers that lose tasks of one job each record events of it, and each look whether it is done."""
    job_id = scene.submit(images_per_prompt=2)
    with scene.database.begin() as looking, scene.database.begin() as recording:
        lifecycle.finish_what_is_done(looking, [job_id])
        recording.execute(text("SET LOCAL lock_timeout = '500ms'"))
        record(recording, "task.requeue", job_id=job_id)
