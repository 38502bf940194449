"""A farm in memory, with no locks, clocks or SQL: what each step ought to lead to."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from math import ceil

FINAL = ("succeeded", "failed", "cancelled")


@dataclass
class ExpectedTask:
    """One image, and how each of its attempts ended."""

    id: int
    batch_key: str
    attempt_limit: int
    status: str = "queued"
    attempt: int = 0
    runs_alone: bool = False
    worker_id: int | None = None
    lease_has_ended: bool = False
    losses: int = 0
    outcomes: dict[int, str] = field(default_factory=dict)
    tried_by: dict[int, int] = field(default_factory=dict)

    def claim(self, worker_id: int) -> None:
        self.status, self.worker_id, self.lease_has_ended = "running", worker_id, False
        self.attempt += 1
        self.outcomes[self.attempt] = "running"
        self.tried_by[self.attempt] = worker_id

    def workers_that(self, *outcomes: str) -> set[int]:
        """Who tried it in vain, by how that ended."""
        return {worker for number, worker in self.tried_by.items() if self.outcomes[number] in outcomes}

    def end(self, status: str, outcome: str) -> None:
        if self.status == "running":
            self.outcomes[self.attempt] = outcome
        self.status = status

    def fail(self) -> bool:
        """End an attempt that failed; say whether the task is tried again."""
        again = self.attempt < self.attempt_limit
        self.runs_alone |= again
        self.end("queued" if again else "failed", "failed")
        return again

    def lose(self) -> None:
        """End an attempt that lost its worker, which is no try of the task's own."""
        self.losses += 1
        workers = len(self.workers_that("lost", "running"))
        if (self.losses >= 6 and workers >= 2) or self.losses >= 8:
            self.end("failed", "lost")
        else:
            self.runs_alone = True
            self.attempt_limit += 1
            self.end("queued", "lost")


@dataclass
class ExpectedJob:
    """A job; `batch_limit` is the most of it that goes together, `is_old` whether it is ready for long."""

    id: int
    owner: str
    priority: int
    batch_limit: int
    is_early: bool
    is_old: bool
    tasks: list[ExpectedTask]
    is_overdue: bool = False
    status: str = "active"

    @property
    def is_final(self) -> bool:
        return self.status in FINAL

    def having(self, *statuses: str) -> list[ExpectedTask]:
        return [task for task in self.tasks if task.status in statuses]

    def settle(self) -> None:
        """The status that follows from the tasks, once none of them is open."""
        if not self.having("queued", "running"):
            self.status = next((s for s in ("cancelled", "failed") if self.having(s)), "succeeded")


@dataclass(frozen=True)
class Line:
    """What a claim may choose among: the queued tasks of one job and batch key."""

    job: ExpectedJob
    batch_key: str

    @property
    def tasks(self) -> list[ExpectedTask]:
        return [task for task in self.job.having("queued") if task.batch_key == self.batch_key]


@dataclass(frozen=True)
class ExpectedSeat:
    """What a plan says that a worker should take next: of a group, first an owner's, and how many."""

    batch_key: str
    owner: str
    images: int


def _rank_in_seat(job: "ExpectedJob", owner: str) -> tuple[bool, bool]:
    """The owner of a seat goes first, and of theirs what is interactive: a job of at most four images."""
    return job.owner != owner, job.owner == owner and len(job.tasks) > 4


@dataclass
class ExpectedFarm:
    """All jobs, and the workers that live; whose turn it is, and what the plan says while it is fresh.

    Whom the farm distrusts is decided elsewhere and told to the model: who is out of service, and who
    is to avoid the one checkpoint.
    """

    max_attempts: int = 3
    jobs: dict[int, ExpectedJob] = field(default_factory=dict)
    tasks: dict[int, ExpectedTask] = field(default_factory=dict)
    workers: list[int] = field(default_factory=list)
    turns: dict[str, int] = field(default_factory=dict)
    seats: dict[int, ExpectedSeat] = field(default_factory=dict)
    has_plan: bool = False
    out_of_service: frozenset[int] = frozenset()
    avoiding: frozenset[int] = frozenset()

    def submit(self, job: ExpectedJob) -> None:
        self.jobs[job.id] = job
        self.tasks |= {task.id: task for task in job.tasks}

    def holds(self, task_id: int, attempt: int) -> bool:
        task = self.tasks[task_id]
        return task.status == "running" and task.attempt == attempt

    @property
    def serving(self) -> set[int]:
        return set(self.workers) - self.out_of_service

    def is_barred(self, worker_id: int) -> bool:
        """A worker takes nothing while out of service, and what it avoids only where nobody else could."""
        return worker_id not in self.serving or (worker_id in self.avoiding and not self.serving <= self.avoiding)

    def next_batch(self, worker_id: int, limit: int, *, holds_checkpoint: bool) -> list[ExpectedTask]:
        """Exactly the tasks that a claim made now must get: those of its seat, else what it finds by itself."""
        if self.is_barred(worker_id):
            return []
        return self._seated(worker_id, limit) or self._unseated(worker_id, limit, holds_checkpoint)

    def _seated(self, worker_id: int, limit: int) -> list[ExpectedTask]:
        seat = self.seats.get(worker_id) if self.has_plan else None
        if seat is None:
            return []
        group = [line for line in self._lines() if line.batch_key == seat.batch_key]
        group.sort(key=lambda x: (*_rank_in_seat(x.job, seat.owner), -x.job.priority, x.job.id))
        return self._batch(worker_id, group, group, min(limit, seat.images))

    def _unseated(self, worker_id: int, limit: int, holds_checkpoint: bool) -> list[ExpectedTask]:
        """Beside a plan, what needs another checkpoint is left to whom it seats, unless it waits for long."""
        lines = [line for line in self._lines() if holds_checkpoint or line.job.is_old or not self.has_plan]
        lines.sort(key=lambda x: (-x.job.priority, self.turns[x.job.owner] // 30, x.job.id, x.batch_key))
        head = self._head(worker_id, lines)
        if head is None:
            return []
        others = [line for line in self._lines() if line.batch_key == head.batch_key and line != head]
        mates = [head, *sorted(others, key=lambda x: (-x.job.priority, x.job.id))]
        queued = [task for line in mates for task in line.tasks]
        return self._batch(worker_id, lines, mates, min(limit, ceil(len(queued) / len(self.serving))))

    def _head(self, worker_id: int, lines: list[Line]) -> Line | None:
        return next((x for x in lines if any(self.may_try(worker_id, task) for task in x.tasks)), None)

    def _batch(self, worker_id: int, lines: list[Line], mates: list[Line], part: int) -> list[ExpectedTask]:
        """The first line decides: of it and its mates what nobody tried in vain, else one of it alone."""
        head = self._head(worker_id, lines)
        if head is None:
            return []
        if any(not task.runs_alone for task in head.tasks):
            fresh = [task for line in mates for task in line.tasks if not task.runs_alone]
            return fresh[: min(part, head.job.batch_limit)]
        return [task for task in head.tasks if self.may_try(worker_id, task)][:1]

    def may_try(self, worker_id: int, task: ExpectedTask) -> bool:
        """Not what failed here or was lost, while another worker may try it that did neither."""
        in_vain = task.workers_that("failed", "lost") if task.runs_alone else set()
        return worker_id not in in_vain or not self.serving - self.avoiding - in_vain - {worker_id}

    def _lines(self) -> Iterator[Line]:
        for job in self.jobs.values():
            if job.status == "active" and not job.is_early:
                for key in {task.batch_key for task in job.having("queued")}:
                    yield Line(job, key)

    def publish(self, task_id: int, attempt: int) -> bool:
        if self.holds(task_id, attempt):
            self.tasks[task_id].end("succeeded", "succeeded")
            self._settle()
        return self.tasks[task_id].outcomes[attempt] == "succeeded"

    def fail(self, task_id: int, attempt: int, *, is_retryable: bool) -> bool:
        if not self.holds(task_id, attempt):
            return False
        task = self.tasks[task_id]
        if is_retryable:
            again = task.fail()
        else:
            again = False
            task.end("failed", "failed")
        self._settle()
        return again

    def hand_back(self, attempts: Iterable[tuple[int, int]]) -> None:
        for task_id, attempt in attempts:
            if self.holds(task_id, attempt):
                self.tasks[task_id].end("queued", "handed_back")
                self.tasks[task_id].attempt_limit += 1

    def expire(self) -> int:
        return self._lose(self.expired())

    def expired(self) -> list[ExpectedTask]:
        return [task for task in self.running() if task.lease_has_ended]

    def release_dead(self, worker_id: int) -> int:
        return self._lose([task for task in self.running() if task.worker_id == worker_id])

    def running(self) -> list[ExpectedTask]:
        return [task for task in self.tasks.values() if task.status == "running"]

    def _lose(self, lost: list[ExpectedTask]) -> int:
        for task in lost:
            task.lose()
        self._settle()
        return len(lost)

    def cancel(self, job: ExpectedJob, *statuses: str) -> bool:
        chosen = job.having(*statuses)
        for task in chosen:
            task.end("cancelled", "cancelled")
        self._settle()
        return bool(chosen)

    def retry(self, job: ExpectedJob) -> bool:
        chosen = job.having("failed")
        if not chosen or job.status == "cancelled":
            return False
        for task in chosen:
            task.status = "queued"
            task.losses = 0
            task.attempt_limit = task.attempt + self.max_attempts
        job.status = "active"
        return True

    def _settle(self) -> None:
        for job in self.jobs.values():
            if not job.is_final:
                job.settle()
