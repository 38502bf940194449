"""What a request may say: the job as submitted, and the frozen spec of each image it unfolds into."""

import hashlib
import json
import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from farm.errors import FieldProblem, InvalidRequest
from farm.samplers import DEFAULT_SAMPLER, SAMPLERS, known_sampler

SEEDS = 2**32
"""Seeds run from 0 to SEEDS - 1, as in the WebUI."""

_MOST_PROBLEMS = 10_000


def _multiple_of_8(side: int) -> int:
    if side % 8:
        raise ValueError(f"must be a multiple of 8; the nearest are {side - side % 8} and {side - side % 8 + 8}")
    return side


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("is out of range") from None


def _printable(text: str) -> str:
    if "\x00" in text:
        raise ValueError("must not contain a NUL character")
    return text


def _on_one_line(text: str) -> str:
    if _CONTROL.search(text):
        raise ValueError("must not contain line breaks or control characters")
    return text


def _not_a_truth_value(value: Any) -> Any:
    """Python counts true as 1; whoever sends it for a number means something else."""
    if isinstance(value, bool):
        raise ValueError("must be a number")
    return value


def _not_a_number(value: Any) -> Any:
    """A bare number might be seconds or milliseconds of any epoch."""
    if not isinstance(value, datetime) and ":" not in str(value):
        raise ValueError("must be a time with its zone, like 2030-01-31T08:00:00Z")
    return value


# C0, DEL, C1, and the line breaks that only Unicode knows.
_CONTROLS = r"\u0000-\u001f\u007f-\u009f\u2028\u2029"
_CONTROL = re.compile(f"[{_CONTROLS}]")

# Always the last of its type: the JSON schema leaves out what follows a BeforeValidator.
_NUMBER = BeforeValidator(_not_a_truth_value)

Text = Annotated[
    str, Field(max_length=10_000, json_schema_extra={"pattern": r"^[^\u0000]*$"}), AfterValidator(_printable)
]
Prompt = Annotated[Text, Field(description="What the image shows.")]
Side = Annotated[
    int, Field(ge=64, le=8192, json_schema_extra={"multipleOf": 8}), AfterValidator(_multiple_of_8), _NUMBER
]
Steps = Annotated[int, Field(ge=1, le=150), _NUMBER]
Guidance = Annotated[float, Field(ge=0, le=30, allow_inf_nan=False), _NUMBER]
Seed = Annotated[int, Field(ge=0, lt=SEEDS), _NUMBER]
SamplerName = Annotated[
    str,
    AfterValidator(known_sampler),
    WithJsonSchema({"type": "string", "enum": list(SAMPLERS)}),
]
Name = Annotated[
    str,
    Field(min_length=1, max_length=200, json_schema_extra={"pattern": r"^[^\u0000]*$"}),
    AfterValidator(_printable),
]
Title = Annotated[Name, Field(json_schema_extra={"pattern": f"^[^{_CONTROLS}]*$"}), AfterValidator(_on_one_line)]
Moment = Annotated[AwareDatetime, BeforeValidator(_not_a_number), AfterValidator(_in_utc)]
Count = Annotated[int, Field(ge=1, le=10_000), _NUMBER]
Priority = Annotated[int, Field(ge=0, le=100, description="Higher goes first."), _NUMBER]
Slug = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]


class TextToImageSpec(BaseModel):
    """Everything that decides the pixels of one txt2img image."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Literal["txt2img"] = "txt2img"
    checkpoint: Name
    prompt: Prompt
    negative_prompt: Text = ""
    width: Side = 512
    height: Side = 512
    num_inference_steps: Steps = 20
    guidance_scale: Guidance = 7.0
    sampler: SamplerName = DEFAULT_SAMPLER
    seed: Seed
    deterministic: bool = False

    @model_validator(mode="after")
    def _steps_suit_the_sampler(self) -> "TextToImageSpec":
        limit = SAMPLERS[self.sampler].max_steps
        if self.num_inference_steps > limit:
            raise ValueError(f"num_inference_steps: {self.sampler} takes at most {limit} steps")
        return self

    @property
    def is_guided(self) -> bool:
        """Whether the negative prompt takes part (classifier-free guidance), as diffusers decides it."""
        return self.guidance_scale > 1


ImageSpec = TextToImageSpec
"""The specs of all modes; a union once there is a second mode."""


def batch_key(spec: ImageSpec, checkpoint_sha256: str) -> str:
    """16 hex digits that are equal for images that one pipeline call can render together."""
    shared = [
        checkpoint_sha256,
        spec.mode,
        spec.width,
        spec.height,
        spec.num_inference_steps,
        spec.sampler,
        spec.is_guided,
        spec.deterministic,
    ]
    return hashlib.sha256(json.dumps(shared).encode()).hexdigest()[:16]


class PromptRow(BaseModel):
    """One prompt of a job; what it leaves out is taken from the job."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: Prompt
    negative_prompt: Text | None = None
    checkpoint: Name | None = None
    width: Side | None = None
    height: Side | None = None
    num_inference_steps: Steps | None = None
    guidance_scale: Guidance | None = None
    sampler: SamplerName | None = None
    seed: Seed | None = None
    images_per_prompt: Count | None = None


def _row_of_text(row: Any) -> Any:
    return {"prompt": row} if isinstance(row, str) else row


PromptEntry = Annotated[
    PromptRow,
    BeforeValidator(_row_of_text, json_schema_input_type=str | PromptRow),
]


class JobRequest(BaseModel):
    """A job as a user submits it.

    Every prompt is rendered `images_per_prompt` times with the seeds `seed`, `seed + 1`, ...; without
    a seed each prompt draws its own, which is recorded with each image.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Literal["txt2img"] = "txt2img"
    prompts: list[PromptEntry] = Field(
        min_length=1, max_length=100_000, description="Prompts: strings, or objects with their own settings."
    )
    negative_prompt: Text = ""
    checkpoint: Name | None = Field(None, description="May be left out where only one checkpoint is registered.")
    width: Side = 512
    height: Side = 512
    num_inference_steps: Steps = 20
    guidance_scale: Guidance = 7.0
    sampler: SamplerName = DEFAULT_SAMPLER
    seed: Seed | None = None
    images_per_prompt: Count = 1
    deterministic: bool = Field(
        False, strict=True, description="Render each image alone, so that no batch size enters its pixels."
    )

    name: Title | None = None
    project: Title | None = None
    pool: Slug = "default"
    priority: Priority = 50
    not_before: Moment | None = Field(None, description="Start no image before this time.")
    deadline: Moment | None = Field(None, description="Cancel what has not started by this time.")

    @property
    def title(self) -> str:
        """The job's name, or else the first line of its first prompt, as far as it can be shown on one."""
        line = self.prompts[0].prompt.strip().split("\n")[0]
        return self.name or _CONTROL.sub(" ", line).strip()[:80] or "untitled"

    @property
    def fingerprint(self) -> str:
        """The sha256 of the request: a repeat under one Idempotency-Key must match it.

        Defaults are left out, so that a release which adds a field still knows the repeats of before.
        """
        return hashlib.sha256(self.model_dump_json(exclude_defaults=True).encode()).hexdigest()


def parse_request(data: Any) -> JobRequest:
    """Check a request from outside. Raises InvalidRequest with everything that is wrong, field by field."""
    try:
        return JobRequest.model_validate(data)
    except ValidationError as error:
        raise InvalidRequest(problems_of(error)) from None


def problems_of(error: ValidationError) -> list[FieldProblem]:
    """Pydantic's findings as field problems, with paths like `prompts[3].width`.

    Beyond _MOST_PROBLEMS they are only counted: a body of 4 MB can hold a million, which took 1.6 GB to name.
    """
    if error.error_count() > _MOST_PROBLEMS:
        return [
            FieldProblem("request", f"has {error.error_count():,} mistakes, too many to name. Try a few rows first")
        ]
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return [FieldProblem(field_path(p["loc"]), _message(p)) for p in found]


def field_path(location: tuple[int | str, ...]) -> str:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return path.removeprefix(".") or "request"


def _message(problem: Any) -> str:
    if problem["type"] == "extra_forbidden":
        return "there is no such field"
    message: str = problem["msg"].removeprefix("Value error, ")
    return message[0].lower() + message[1:]


def is_past(moment: datetime | None, now: datetime) -> bool:
    return moment is not None and moment <= now
