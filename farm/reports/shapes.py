"""What is going on, as people and programs read it: the shapes that API, portal and CLI share."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from farm.reports.durations import in_about


class Report(BaseModel):
    """A frozen answer, made from rows or from the API's JSON."""

    model_config = ConfigDict(frozen=True, from_attributes=True)


class ImageCounts(Report):
    """How many images of a job stand at each status."""

    total: int
    queued: int
    running: int
    succeeded: int
    failed: int
    cancelled: int

    @property
    def finished(self) -> int:
        return self.succeeded + self.failed + self.cancelled


class ExpectedReport(Report):
    """When a job is expected to start and to end: seconds from now, as ranges; null where nobody can say.

    What has started has no start to come.
    """

    starts_low: float | None = None
    starts_high: float | None = None
    ends_low: float | None = None
    ends_high: float | None = None

    @property
    def in_words(self) -> str:
        """`starts in about 2 to 4 min, ends in about 20 to 30 min`; nothing where nobody can say."""
        parts = []
        if self.starts_low is not None and self.starts_high is not None:
            parts.append(f"starts {in_about(self.starts_low, self.starts_high)}")
        if self.ends_low is not None and self.ends_high is not None:
            parts.append(f"ends {in_about(self.ends_low, self.ends_high)}")
        return ", ".join(parts)


class JobReport(Report):
    """One job. `expected` is null where the plan says nothing of it, and in lists."""

    model_config = ConfigDict(validate_by_name=True, serialize_by_alias=True)

    id: int
    name: str
    owner: str
    project: str | None
    mode: str
    status: str
    reason: str | None
    priority: int
    class_: str | None = Field(None, alias="class")
    max_devices: int | None = None
    pool: str
    not_before: datetime | None
    deadline: datetime | None
    created_at: datetime
    finished_at: datetime | None
    warnings: list[str] = []
    awaits_grid: bool = False
    images: ImageCounts
    expected: ExpectedReport | None = None

    @property
    def is_final(self) -> bool:
        return self.finished_at is not None


class AccountReport(Report):
    """One account. `keys`: the public beginnings of its valid keys; `weight`: its part of the devices."""

    name: str
    weight: float = 1.0
    created_at: datetime
    disabled_at: datetime | None
    keys: list[str]


class ProjectReport(Report):
    """A label that jobs share; `weight`: its part of the devices, relative to others; null: none of its own."""

    name: str
    weight: float | None
    created_at: datetime


class PreviewReport(Report):
    """What a request would become. `seconds` is null where nothing like it was rendered recently.

    `expected` is when it would start and end if it were submitted now; null where nobody plans.
    """

    images: int
    batches: int
    seconds: float | None
    expected: ExpectedReport | None = None
    warnings: list[str]


class StyleReport(Report):
    """A named piece of prompt."""

    name: str
    prompt: str
    negative_prompt: str


class WildcardReport(Report):
    """A named list of choices."""

    name: str
    lines: list[str]


class GridReport(Report):
    """The labelled picture of a sweep, with a link to it."""

    number: int
    title: str
    filename: str
    url: str
    width: int
    height: int
    size_bytes: int


class TaskReport(Report):
    """One image to render and how far it is."""

    id: int
    job_id: int
    seq: int
    status: str
    reason: str | None
    attempt: int
    worker: str | None
    spec: dict[str, Any]
    progress: float | None = None


class ImageReport(Report):
    """One published image. The URLs are links that expire; they may be relative to the portal."""

    task_id: int
    job_id: int
    seq: int
    attempt: int
    width: int
    height: int
    sha256: str
    size_bytes: int
    media_type: str
    filename: str
    url: str
    thumbnail_url: str
    spec: dict[str, Any]
    provenance: dict[str, Any]
    created_at: datetime


class UploadReport(Report):
    """A picture that was sent, as it is kept: `id` is the sha256 of the PNG at `url`, a link that expires."""

    id: str
    role: str
    width: int
    height: int
    media_type: str
    size_bytes: int
    url: str
    note: str | None = None
    """How a mask was read, where that is not plain to see; said once, when it is sent."""


class AttemptReport(Report):
    """One try of one task.

    `relief` names what was done where memory was short; `log_tail` holds the last words of a worker that died.
    """

    task_id: int
    number: int
    worker: str | None
    outcome: str
    error: str | None
    batch_size: int | None
    gpu_seconds: float | None
    relief: list[str] | None
    log_tail: str | None
    started_at: datetime
    ended_at: datetime | None


class ExclusionReport(Report):
    """What a worker is kept from: a checkpoint, or all work where that is null. And why, and since when."""

    checkpoint: str | None
    reason: str
    since: datetime


class MemoryLimitReport(Report):
    """From how many pixels on a worker leaves images of a family to others: such did not fit into its memory."""

    family: str
    pixels: int
    reason: str
    since: datetime


class WorkerReport(Report):
    """One worker. `residents` are the checkpoints on its device; it was last heard of `silent_seconds` ago."""

    id: int
    name: str
    device: str
    device_name: str
    pool: str
    status: str
    reason: str | None
    checkpoint: str | None
    residents: list[str] = []
    running: int
    silent_seconds: float
    version: str
    started_at: datetime
    exclusions: list[ExclusionReport]
    memory_limits: list[MemoryLimitReport] = []

    @property
    def out_of_service(self) -> ExclusionReport | None:
        """Why it is to render nothing; None while it is in service."""
        return next((exclusion for exclusion in self.exclusions if exclusion.checkpoint is None), None)

    @property
    def avoided(self) -> list[ExclusionReport]:
        """The checkpoints it is kept from while another worker can render them."""
        return [exclusion for exclusion in self.exclusions if exclusion.checkpoint is not None]


class CheckpointReport(Report):
    """One registered checkpoint.

    `size_bytes` is null for a folder that lies at a place of its own. `suggestions` may hold sampler,
    schedule_type, num_inference_steps, guidance_scale, clip_skip, vae, width, height, trigger_words and licence.
    """

    name: str
    family: str
    sha256: str
    size_bytes: int | None = None
    origin: str | None = None
    suggestions: dict[str, Any] | None = None
    note: str | None
    created_at: datetime


class AddonReport(Report):
    """One registered VAE, embedding or LoRA; `family` is what it is made for, `sha256` that of its file.

    `source_hashes` are those of the file that it was made of: its sha256, and that of the tensors in it alone.
    """

    kind: str
    name: str
    family: str
    sha256: str
    size_bytes: int
    origin: str | None
    note: str | None
    trigger_words: list[str]
    source_hashes: list[str] = []
    created_at: datetime


class FarmReport(Report):
    """The farm at a glance. Of the live workers those in service may take work."""

    queued: int
    running: int
    workers_live: int
    workers_in_service: int
    workers_busy: int
