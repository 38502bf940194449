"""What the database holds of jobs, tasks, attempts and results, and what must be true of it whatever happened."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

from farm.db.connection import Database
from tests.factories import STATUSES
from tests.model.expected import FINAL


@dataclass(frozen=True)
class SeenTask:
    """One row of `tasks`."""

    job_id: int
    batch_key: str
    status: str
    attempt: int
    attempt_limit: int
    runs_alone: bool
    losses: int
    worker_id: int | None
    is_leased: bool


@dataclass(frozen=True)
class Seen:
    """The rows, by their keys: attempts by (task, number), counters by (job, batch key)."""

    jobs: dict[int, str]
    tasks: dict[int, SeenTask]
    attempts: dict[tuple[int, int], str]
    unclosed: set[tuple[int, int]]
    results: list[tuple[int, int]]
    artifacts: int
    counters: dict[tuple[int, str], dict[str, int]]
    out_of_service: frozenset[int]
    avoiding: frozenset[int]


def look(database: Database) -> Seen:
    with database.begin() as session:

        def rows(sql: str) -> list[Any]:
            return list(session.connection().execute(text(sql)))

        excluded = rows("SELECT w.id, x.checkpoint_id FROM exclusions x JOIN workers w ON w.name = worker_name")
        attempts = rows("SELECT task_id, number, outcome, ended_at IS NULL FROM attempts")
        return Seen(
            jobs=dict(tuple(row) for row in rows("SELECT id, status FROM jobs")),
            tasks={
                row[0]: SeenTask(*row[1:])
                for row in rows(
                    "SELECT id, job_id, batch_key, status, attempt, attempt_limit, runs_alone, losses, worker_id, "
                    "lease_until IS NOT NULL FROM tasks"
                )
            },
            attempts={(task_id, number): outcome for task_id, number, outcome, _ in attempts},
            unclosed={(task_id, number) for task_id, number, _, is_open in attempts if is_open},
            results=[tuple(row) for row in rows("SELECT task_id, attempt FROM results")],
            artifacts=rows("SELECT count(*) FROM artifacts")[0][0],
            counters={
                (job_id, key): dict(zip(STATUSES, figures, strict=True))
                for job_id, key, *figures in rows(
                    f"SELECT job_id, batch_key, {', '.join(STATUSES)} FROM line_counts"
                )
            },
            out_of_service=frozenset(worker_id for worker_id, checkpoint_id in excluded if checkpoint_id is None),
            avoiding=frozenset(worker_id for worker_id, checkpoint_id in excluded if checkpoint_id is not None),
        )


def check(seen: Seen) -> None:
    """What every moment shows."""
    check_counters(seen)
    check_results(seen)
    for task_id, task in seen.tasks.items():
        assert task.is_leased == (task.status == "running"), "leased if and only if running"
        assert [number for t, number in sorted(seen.attempts) if t == task_id] == [*range(1, task.attempt + 1)]
    running = {(task_id, task.attempt) for task_id, task in seen.tasks.items() if task.status == "running"}
    assert {key for key, outcome in seen.attempts.items() if outcome == "running"} == running
    assert seen.unclosed == running
    for job_id, status in seen.jobs.items():
        assert status in job_statuses({task.status for task in seen.tasks.values() if task.job_id == job_id})


def check_counters(seen: Seen) -> None:
    recount: dict[tuple[int, str], Counter[str]] = {key: Counter() for key in seen.counters}
    for task in seen.tasks.values():
        recount[task.job_id, task.batch_key][task.status] += 1
    for key, figures in seen.counters.items():
        assert figures == {status: recount[key][status] for status in STATUSES}


def check_results(seen: Seen) -> None:
    succeeded = {task_id for task_id, task in seen.tasks.items() if task.status == "succeeded"}
    assert sorted(task_id for task_id, _ in seen.results) == sorted(succeeded), "one result a task, or none"
    assert seen.artifacts == 2 * len(seen.results)
    assert all(seen.attempts[result] == "succeeded" for result in seen.results)


def job_statuses(statuses: set[str]) -> tuple[str, ...]:
    """What a job may be said to be whose tasks have these statuses."""
    if statuses & {"queued", "running"}:
        return "active", "paused"
    return (next((status for status in ("cancelled", "failed") if status in statuses), "succeeded"),)


def check_change(before: Seen, after: Seen) -> None:
    """What one step may change: attempts only grow, how one ended stays, and final is final but for a retry."""
    for task_id, task in before.tasks.items():
        now = after.tasks[task_id]
        assert now.attempt >= task.attempt
        if task.status in FINAL and now != task:
            assert (task.status, now.status) == ("failed", "queued")
    closed = {key: outcome for key, outcome in before.attempts.items() if outcome != "running"}
    assert closed.items() <= after.attempts.items()
    assert set(before.results) <= set(after.results)
