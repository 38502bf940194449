"""The states of tasks and jobs, and the arrows between them, as literal tables."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class TaskStatus(StrEnum):
    """What may be said of one image.

    queued     waiting for a worker. Put here by submit, by a lost lease, by a repeatable failure, by retry.
    running    claimed: a worker holds a lease on its current attempt.
    succeeded  its one result is published. Final.
    failed     no attempt is left or none would help. Final until a person says retry.
    cancelled  somebody called it off. Final.
    """

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return self in FINAL_TASKS


class JobStatus(StrEnum):
    """What may be said of a whole job.

    active     its tasks decide the rest.
    paused     no task of it is claimed; what is running finishes.
    succeeded  every task succeeded.
    failed     every task is final and some failed.
    cancelled  somebody called it off.
    """

    ACTIVE = "active"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return self in FINAL_JOBS


FINAL_TASKS = frozenset({TaskStatus.SUCCEEDED, TaskStatus.FAILED, TaskStatus.CANCELLED})
FINAL_JOBS = frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED})


@dataclass(frozen=True)
class Arrow:
    """One permitted change of a task's status."""

    name: str
    sources: tuple[TaskStatus, ...]
    target: TaskStatus


CLAIM = Arrow("claim", (TaskStatus.QUEUED,), TaskStatus.RUNNING)
PUBLISH = Arrow("publish", (TaskStatus.RUNNING,), TaskStatus.SUCCEEDED)
FAIL = Arrow("fail", (TaskStatus.RUNNING,), TaskStatus.FAILED)
REQUEUE = Arrow("requeue", (TaskStatus.RUNNING,), TaskStatus.QUEUED)
CANCEL = Arrow("cancel", (TaskStatus.QUEUED, TaskStatus.RUNNING), TaskStatus.CANCELLED)
RETRY = Arrow("retry", (TaskStatus.FAILED,), TaskStatus.QUEUED)

ARROWS = (CLAIM, PUBLISH, FAIL, REQUEUE, CANCEL, RETRY)

JOB_ARROWS: Mapping[JobStatus, frozenset[JobStatus]] = {
    JobStatus.PAUSED: frozenset({JobStatus.ACTIVE}),
    JobStatus.ACTIVE: frozenset({JobStatus.PAUSED, JobStatus.FAILED}),
    JobStatus.CANCELLED: frozenset({JobStatus.ACTIVE, JobStatus.PAUSED}),
    JobStatus.SUCCEEDED: frozenset({JobStatus.ACTIVE, JobStatus.PAUSED}),
    JobStatus.FAILED: frozenset({JobStatus.ACTIVE, JobStatus.PAUSED}),
}
"""Which statuses a job may come from, by the status it goes to."""
