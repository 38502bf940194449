"""The API's own schemas: its queries, and the pages of reports that it answers with."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from farm.queue.states import JobStatus, TaskStatus
from farm.reports.shapes import (
    AddonReport,
    AttemptReport,
    CheckpointReport,
    ExclusionReport,
    ExpectedReport,
    GridReport,
    ImageReport,
    JobReport,
    TaskReport,
    WorkerReport,
)
from farm.spec.fields import Name, Priority
from farm.weights.addons import AddonKind
from web.api.blueprint import header
from web.guard.paths import MAX_ID, MAX_SEQ

_SUBMITTED = {
    "Location": header("Where the job is found."),
    "Idempotent-Replayed": header("`true` where this is the job of an earlier request.", required=False),
}

Limit = Annotated[int, Field(ge=1, le=200, description="How many at most.")]
AfterSeq = Annotated[int, Field(ge=-1, le=MAX_SEQ, description="The `next` of the page before.")]


class Question(BaseModel):
    """The parameters of a request; a misspelled name is refused, not ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class JobPath(BaseModel):
    """Which job."""

    job_id: int


class SubmitHeader(BaseModel):
    """A repeat with the same key and request is answered with the first one's job, so a retry is safe."""

    idempotency_key: str | None = Field(
        None, alias="Idempotency-Key", min_length=1, max_length=255, pattern=r"^[\x20-\x7e]+$"
    )


class SubmitQuery(Question):
    """Whether to submit at all."""

    dry_run: bool = Field(
        False,
        description="Only check, count and estimate: answer 200, and store no job; pictures that the request "
        "brings are kept as uploads.",
    )


class JobsQuery(Question):
    before: int | None = Field(None, ge=0, le=MAX_ID, description="The `next` of the page before.")
    status: JobStatus | None = None
    owner: Name | None = None
    limit: Limit = 50


class TasksQuery(Question):
    after: AfterSeq = -1
    status: TaskStatus | None = None
    limit: Limit = 100


class ImagesQuery(Question):
    after: AfterSeq = -1
    limit: Limit = 100


class AttemptsQuery(Question):
    limit: Limit = 100


class JobChange(Question):
    priority: Priority


class Drain(Question):
    worker: Name = Field(description="Its name, such as `host/GPU-4f1c...`; it outlives the process.")
    reason: Name | None = Field(None, description="The reason; the user who drained it is recorded in any case.")


class Restore(Question):
    worker: Name = Field(description="Its name.")
    checkpoint: Name | None = Field(None, description="Give back this checkpoint alone; without it, all work.")


class SubmittedJob(JobReport):
    """An accepted job, with what its owner should know."""

    # This is how flask-openapi3 takes the headers of an answer.
    model_config = ConfigDict(openapi_extra={"headers": _SUBMITTED})  # type: ignore[typeddict-unknown-key]


class JobPage(BaseModel):
    jobs: list[JobReport]
    next: int | None = Field(description="Ask for `before` this; null on the last page.")


class TaskPage(BaseModel):
    tasks: list[TaskReport]
    next: int | None = Field(description="Ask for `after` this; null on the last page.")


class ImagePage(BaseModel):
    images: list[ImageReport]
    next: int | None = Field(description="Ask for `after` this; null on the last page so far.")


class Grids(BaseModel):
    grids: list[GridReport]


class Attempts(BaseModel):
    attempts: list[AttemptReport]


class Reasons(BaseModel):
    """Why images of a job wait, and when it is expected to start and end; null where nobody can say."""

    reasons: list[str]
    expected: ExpectedReport | None


class Checkpoints(BaseModel):
    checkpoints: list[CheckpointReport]


class AddonsQuery(Question):
    kind: AddonKind | None = Field(None, description="Only these.")


class Addons(BaseModel):
    addons: list[AddonReport]


class SamplerReport(BaseModel):
    """A sampler; `schedule_types` are those it takes besides Automatic, which means the default."""

    name: str
    schedule_types: list[str]
    default_schedule_type: str
    max_steps: int
    is_default: bool


class Samplers(BaseModel):
    samplers: list[SamplerReport]


class Workers(BaseModel):
    workers: list[WorkerReport]


class Excluded(BaseModel):
    """The current exclusions of a worker; an empty list where there are none."""

    worker: str
    exclusions: list[ExclusionReport]
