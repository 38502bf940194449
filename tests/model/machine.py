"""Everything that may happen to a farm, in any order, done to the real one and to the one in memory.

Old leases are never thrown away: a worker that held one may come back as a zombie and write.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from itertools import count, cycle
from typing import Any, TypeVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import insert, text
from sqlalchemy.orm import Session

from farm.db.tables.accounts import User
from farm.errors import Conflict
from farm.queue import claim, deadlines, endings, leases, losses, steering
from farm.queue.claimed import Lease
from farm.queue.offers import corrections
from farm.queue.workers import exclusions, fleet
from tests.factories import LEASE_SECONDS, Scene, a_checkpoint, an_object
from tests.model.expected import ExpectedFarm, ExpectedJob, ExpectedSeat, ExpectedTask
from tests.model.histories import HAPPENINGS, OWNERS, WRITES, any_of, index, requests
from tests.model.seen import check, check_change, look

Thing = TypeVar("Thing")

MOST_JOBS = 12


class FarmMachine(RuleBasedStateMachine):
    """A farm of several workers, jobs, batch keys and two owners."""

    def __init__(self, scene: Scene) -> None:
        super().__init__()
        self.scene = scene
        self.database = scene.database
        self.expected = ExpectedFarm()
        self.leases: list[Lease] = []
        self.names = count()
        self.turns = cycle(range(3))
        self.before = look(self.database)

    @initialize(submitted=st.lists(requests, min_size=2, max_size=4), max_attempts=st.sampled_from([1, 2, 2]))
    def open_the_farm(self, submitted: list[dict[str, Any]], max_attempts: int) -> None:
        """At work at once, and with a zombie."""
        self.expected.max_attempts = max_attempts
        self.scene = replace(
            self.scene, settings=self.scene.settings.model_copy(update={"max_attempts": max_attempts})
        )
        with self.database.begin() as session:
            session.execute(insert(User), [{"name": name} for name in OWNERS])
        self.turns_change(0)
        for nth in range(3):
            self.a_worker_joins(nth)
        for request in submitted:
            self.submit(request)
        self.claim(3)
        self.a_task_changes_hands(0)

    def teardown(self) -> None:
        self.scene.let_plans_age()
        with self.database.begin() as session:
            for table in (
                "results",
                "artifacts",
                "jobs",
                "seats",
                "groups",
                "plans",
                "exclusions",
                "workers",
                "users",
            ):
                session.execute(text(f"DELETE FROM {table}"))

    @invariant()
    def the_database_holds_what_it_should(self) -> None:
        seen = look(self.database)
        check(seen)
        check_change(self.before, seen)
        self.before = seen
        self.expected.out_of_service, self.expected.avoiding = seen.out_of_service, seen.avoiding
        for task_id, task in self.expected.tasks.items():
            found = seen.tasks[task_id]
            assert (found.status, found.attempt, found.worker_id) == (task.status, task.attempt, task.worker_id)
            assert (found.attempt_limit, found.runs_alone, found.losses) == (
                task.attempt_limit,
                task.runs_alone,
                task.losses,
            )
            assert {n: seen.attempts[task_id, n] for n in task.outcomes} == task.outcomes
        assert seen.jobs == {job.id: job.status for job in self.expected.jobs.values()}
        self.rehearse()

    def rehearse(self) -> None:
        """What could come next, tried and rolled back: who would get what, what a zombie could do, what expires."""
        worker_id = nth_of(self.expected.workers, len(self.leases))
        residents = self.residents(len(self.leases) // 2)
        due = self.expected.next_batch(worker_id, 8, holds_checkpoint=bool(residents))
        self.a_keeper_corrects()
        with self.database.begin() as session:
            batch = claim.claim(
                session, worker_id, pool="default", limit=8, lease_seconds=LEASE_SECONDS, residents=residents
            )
            assert {x.task_id for x in (batch.leases if batch else ())} == {task.id for task in due}
            for zombie in self.zombies[-1:]:
                self.rehearse_zombie(session, zombie)
            assert losses.expire(session) == len(self.expected.expired())
            session.rollback()

    def rehearse_zombie(self, session: Session, zombie: Lease) -> None:
        match next(self.turns):
            case 0:
                worker_id = self.expected.workers[0]
                assert zombie not in leases.renew(session, worker_id, [zombie, *self.held], LEASE_SECONDS)
            case 1:
                assert not endings.fail(session, zombie, "too late", is_retryable=True)
            case 2:
                assert publish_in(session, zombie) == self.expected.publish(zombie.task_id, zombie.attempt)

    @precondition(lambda self: len(self.expected.jobs) < MOST_JOBS)
    @rule(request=requests)
    def submit(self, request: dict[str, Any]) -> None:
        is_old = request["is_old"]
        job_id = self.scene.submit(**{name: value for name, value in request.items() if name != "is_old"})
        tasks = [ExpectedTask(t.id, t.batch_key, self.expected.max_attempts) for t in self.scene.tasks(job_id)]
        job = ExpectedJob(
            id=job_id,
            owner=request["owner"],
            priority=request["priority"],
            batch_limit=1 if request["deterministic"] else 8,
            is_early=request["not_before"] is not None,
            is_old=is_old,
            tasks=tasks,
        )
        self.expected.submit(job)

    @rule(what=any_of(HAPPENINGS), nth=index)
    def happens(self, what: str, nth: int) -> None:
        getattr(self, what)(nth)

    @precondition(lambda self: self.leases)
    @rule(write=any_of(WRITES), nth=index, is_zombie=st.booleans())
    def a_worker_writes(self, write: str, nth: int, is_zombie: bool) -> None:
        """A zombie's attempt is over; mostly another one renders the task by now."""
        leases = (self.zombies if is_zombie else self.held) or self.leases
        getattr(self, write)(nth_of(leases, nth), nth)

    def cancel(self, nth: int) -> None:
        job = self.job(nth)
        self.agree(partial(steering.cancel, self.database, job.id), self.expected.cancel(job, "queued", "running"))

    def pause(self, nth: int) -> None:
        """Mostly a job whose turn it is."""
        due = self.expected.next_batch(nth_of(self.expected.workers, nth), 8, holds_checkpoint=True)
        job = self.job(nth, lambda job: any(task in due for task in job.tasks))
        self.agree(partial(steering.pause, self.database, job.id), job.status == "active")
        job.status = "paused" if job.status == "active" else job.status

    def resume(self, nth: int) -> None:
        job = self.job(nth, lambda job: job.status == "paused")
        self.agree(partial(steering.resume, self.database, self.scene.doorbell, job.id), job.status == "paused")
        job.status = "active" if job.status == "paused" else job.status

    def retry(self, nth: int) -> None:
        job = self.job(nth, lambda job: bool(job.having("failed")))
        wish = partial(steering.retry, self.database, self.scene.settings, self.scene.doorbell, job.id)
        self.agree(wish, self.expected.retry(job))

    def prioritize(self, nth: int) -> None:
        job, priority = self.job(nth), nth % 101
        self.agree(partial(steering.set_priority, self.database, job.id, priority), not job.is_final)
        job.priority = job.priority if job.is_final else priority

    def agree(self, wish: Callable[[], object], is_granted: bool) -> None:
        """A wish is granted, or refused with Conflict, as the model says."""
        with nullcontext() if is_granted else pytest.raises(Conflict):
            wish()

    def claim(self, nth: int) -> None:
        """Rung once, twice or not at all: a claim is a claim."""
        limit = nth_of([1, 2, 4, 8], nth)
        worker_id = nth_of(self.expected.workers, nth)
        residents = self.residents(nth)
        due = self.expected.next_batch(worker_id, limit, holds_checkpoint=bool(residents))
        self.a_keeper_corrects()
        leases = self.scene.claim(worker_id, limit=limit, residents=residents)
        assert {lease.task_id for lease in leases} == {task.id for task in due}
        for task in due:
            task.claim(worker_id)
        assert all(self.holds(lease) for lease in leases)
        self.leases += leases

    def residents(self, nth: int) -> list[int]:
        """What lies on the device: the one checkpoint, or nothing."""
        return [a_checkpoint(self.database)] if nth % 2 else []

    def a_keeper_corrects(self) -> None:
        """What a keeper's round does each second: queues whose owners have nothing close, others open.

        Time stands still meanwhile: plans that are fresh and lines that are not old stay so.
        """
        self.scene.plan_again()
        self.scene.execute(
            "UPDATE counters "
            "SET ready_at = CASE WHEN job_id = ANY(:old) THEN timestamptz '2000-01-01' ELSE now() END",
            old=[job.id for job in self.expected.jobs.values() if job.is_old],
        )
        for correct in (corrections.close_empty_queues, corrections.open_missing_queues):
            with self.database.begin() as session:
                correct(session)

    def turns_change(self, nth: int) -> None:
        """By what owners are owed: who enters another queue takes the same turn there."""
        self.expected.turns = {name: nth // (n + 2) % 100 for n, name in enumerate(OWNERS)}
        for owner, turn in self.expected.turns.items():
            self.scene.owe(owner, -turn)

    def a_plan_is_made(self, nth: int) -> None:
        """It seats some workers, on a group that has something queued or on one that has not."""
        lines = [
            (job, key) for job in self.expected.jobs.values() for key in sorted({t.batch_key for t in job.tasks})
        ]
        for number, worker_id in enumerate(self.expected.workers):
            if (nth + number) % 3 and lines:
                job, key = nth_of(lines, nth // 7 + number)
                owner, images = nth_of(OWNERS, nth // 5 + number), 1 + nth % 5
                self.scene.seat(worker_id, job.id, batch_key=key, owner=owner, images=images)
                self.expected.seats[worker_id] = ExpectedSeat(key, owner, images)
        self.scene.plan()
        self.expected.has_plan = True

    def a_plan_grows_old(self, _: int) -> None:
        """Its leader is gone."""
        self.scene.let_plans_age()
        self.expected.has_plan = False

    def publish(self, lease: Lease, _: int) -> None:
        assert self.scene.publish(lease) == self.expected.publish(lease.task_id, lease.attempt)

    def publish_twice(self, lease: Lease, nth: int) -> None:
        """The answer to the first COMMIT was lost."""
        self.publish(lease, nth)
        self.publish(lease, nth)

    def fail(self, lease: Lease, _: int) -> None:
        again = self.expected.fail(lease.task_id, lease.attempt, is_retryable=True)
        assert self.scene.fail(lease) == again

    def fail_for_good(self, lease: Lease, _: int) -> None:
        assert not self.expected.fail(lease.task_id, lease.attempt, is_retryable=False)
        assert not self.scene.fail(lease, is_retryable=False)

    def adopt(self, lease: Lease, nth: int) -> None:
        """A worker takes over what lies in the spool of another one, and renews its lease with all that it has."""
        worker_id = nth_of(self.expected.workers, nth)
        with self.database.begin() as session:
            adopted = leases.adopt(session, worker_id, [lease], LEASE_SECONDS)
        assert adopted == ({lease} if self.holds(lease) else set())
        if self.holds(lease):
            task = self.expected.tasks[lease.task_id]
            task.worker_id, task.lease_has_ended = worker_id, False
        its_own = {held for held in self.held if self.expected.tasks[held.task_id].worker_id == worker_id}
        assert self.scene.renew(worker_id, *self.leases) == its_own

    def hand_back(self, lease: Lease, _: int) -> None:
        self.scene.hand_back(lease)
        self.expected.hand_back([(lease.task_id, lease.attempt)])

    def a_worker_joins(self, _: int) -> None:
        """Under a name of its own: whom the farm distrusts, it knows by name."""
        self.expected.workers.append(self.scene.worker(f"cpu:{next(self.names)}"))

    def a_worker_stops(self, nth: int) -> None:
        worker_id = nth_of(self.expected.workers, nth)
        held = [lease for lease in self.held if self.expected.tasks[lease.task_id].worker_id == worker_id]
        self.scene.hand_back(*held)
        self.expected.hand_back((lease.task_id, lease.attempt) for lease in held)
        self.retire(worker_id)

    def a_worker_dies(self, nth: int) -> None:
        worker_id = nth_of(self.expected.workers, nth)
        assert self.scene.release_dead(worker_id) == self.expected.release_dead(worker_id)
        self.retire(worker_id)

    def a_person_drains_a_worker(self, nth: int) -> None:
        with self.database.begin() as session:
            exclusions.drain(session, self.name_of(nth_of(self.expected.workers, nth)), "drained by hand")

    def a_person_restores_a_worker(self, nth: int) -> None:
        if excluded := sorted(self.expected.out_of_service | self.expected.avoiding):
            with self.database.begin() as session:
                exclusions.restore(session, self.name_of(nth_of(excluded, nth)))

    def name_of(self, worker_id: int) -> str:
        return str(self.scene.scalar("SELECT name FROM workers WHERE id = :id", id=worker_id))

    def retire(self, worker_id: int) -> None:
        with self.database.begin() as session:
            fleet.retire(session, worker_id, "gone")
        self.expected.workers.remove(worker_id)
        if not self.expected.workers:
            self.a_worker_joins(worker_id)

    def leases_end(self, nth: int) -> None:
        for lease in self.held[nth % 3 :: 3]:
            self.scene.let_leases_end(lease)
            self.expected.tasks[lease.task_id].lease_has_ended = True

    def two_keepers_expire_at_once(self, _: int) -> None:
        with ThreadPoolExecutor(2) as threads:
            expired = [threads.submit(self.scene.expire) for _ in range(2)]
        assert sum(each.result() for each in expired) == self.expected.expire()

    def two_keepers_fold_at_once(self, _: int) -> None:
        """Which nobody notices: the counts stay what they are."""
        with ThreadPoolExecutor(2) as threads:
            folded = [threads.submit(self.scene.fold) for _ in range(2)]
        assert not any(each.result().has_more for each in folded)

    def a_task_changes_hands(self, nth: int) -> None:
        """Handed back it is next in line, so that the next claim makes a zombie of who held it."""
        for lease in self.held[nth % 2 :: 2]:
            self.hand_back(lease, nth)
        self.claim(4 * nth + 3)

    def a_publish_meets_an_expiry(self, nth: int) -> None:
        """A keeper steps aside for a publish that is under way, though the lease has ended."""
        self.two_keepers_expire_at_once(nth)
        if not self.held:
            return
        lease = nth_of(self.held, nth)
        self.scene.let_leases_end(lease)
        with self.database.begin() as session:
            assert publish_in(session, lease)
            assert self.scene.expire() == 0
        assert self.expected.publish(lease.task_id, lease.attempt)

    def time_passes(self, nth: int) -> None:
        """Early jobs may begin, one of the others misses its deadline, and a keeper sees to it."""
        if early := [job for job in self.expected.jobs.values() if job.is_early]:
            self.scene.let_jobs_begin()
            for job in early:
                job.is_early = False
        else:
            job = self.job(nth)
            self.scene.let_deadline_pass(job.id)
            job.is_overdue = True

    def a_keeper_cancels_what_is_overdue(self, _: int) -> None:
        overdue = [j for j in self.expected.jobs.values() if j.is_overdue and not j.is_final and j.having("queued")]
        with self.database.begin() as session:
            assert sorted(deadlines.overdue_jobs(session)) == [job.id for job in overdue]
        for job in overdue:
            with self.database.begin() as session:
                deadlines.cancel_queued(session, job.id, "the deadline has passed")
            self.expected.cancel(job, "queued")

    def job(self, nth: int, is_likely: Callable[[ExpectedJob], bool] = lambda _: True) -> ExpectedJob:
        """One of the likely jobs, if there are such."""
        every = list(self.expected.jobs.values())
        return nth_of([job for job in every if is_likely(job)] or every, nth)

    @property
    def held(self) -> list[Lease]:
        return [lease for lease in self.leases if self.holds(lease)]

    @property
    def zombies(self) -> list[Lease]:
        """Leases that were lost: those whose task another attempt renders now, else any."""
        lost = [lease for lease in self.leases if not self.holds(lease)]
        running = {task.id for task in self.expected.running()}
        return [lease for lease in lost if lease.task_id in running] or lost

    def holds(self, lease: Lease) -> bool:
        return self.expected.holds(lease.task_id, lease.attempt)


def publish_in(session: Session, lease: Lease) -> bool:
    objects = an_object("result", lease), an_object("thumbnail", lease)
    return endings.publish(session, lease, *objects, provenance={}, timings={}, gpu_seconds=1)


def nth_of(things: Sequence[Thing], nth: int) -> Thing:
    return things[nth % len(things)]
