"""What a request may hold: a job as it is submitted, its prompts, and its axes."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, field_validator, model_validator

from farm.errors import FieldProblem, InvalidRequest
from farm.intake.fingerprints import fingerprint
from farm.spec.fieldproblems import NO_SUCH_FIELD, problems_of
from farm.spec.fields import (
    CONTROL,
    FROZEN,
    NUMBER,
    Blur,
    ClipSkip,
    Count,
    Guidance,
    ImageFormat,
    InpaintArea,
    MaskedContent,
    Moment,
    Name,
    Pixels,
    Priority,
    Prompt,
    Quality,
    ResizeMode,
    SamplerName,
    Scale,
    ScheduleType,
    Side,
    Slug,
    Steps,
    Strength,
    Text,
    Title,
    UpscaleMethod,
    WishedSeed,
)
from farm.spec.hires import Hires
from farm.spec.modes import USUAL_MODE, ModeName
from farm.spec.samplers import split_name

MOST_VALUES = 1000
"""How many values an axis may have."""

ImageSource = Annotated[
    str,
    Field(
        min_length=1,
        max_length=32 * 2**20,
        description="A picture: the id of an upload, base64 (bare or as a data: URI), or an https:// address where "
        "the farm allows it.",
    ),
]
Aspect = Annotated[str, Field(pattern=r"^[1-9]\d{0,3}:[1-9]\d{0,3}$", description="Width to height: `16:9`.")]


class ImageSettings(BaseModel):
    """What may be set for images: for all of a job, or for one prompt. What is left out has its usual value."""

    model_config = FROZEN

    negative_prompt: Text | None = None
    styles: list[Name] | None = Field(None, max_length=50, description="Names of styles, applied in this order.")
    checkpoint: Name | None = Field(None, description="May be left out where only one checkpoint is registered.")
    vae: Name | None = Field(None, description="A registered VAE, instead of the checkpoint's own.")
    width: Side | None = Field(None, description="Left out: the input picture's, or what suits the checkpoint.")
    height: Side | None = Field(None, description="Left out: the input picture's, or what suits the checkpoint.")
    num_inference_steps: Steps | None = Field(None, description="Left out: 20.")
    guidance_scale: Guidance | None = Field(None, description="CFG scale. Left out: 7.")
    sampler: SamplerName | None = Field(None, description="Left out: DPM++ 2M.")
    schedule_type: ScheduleType | None = Field(None, description="Left out: Automatic, the sampler's own.")
    clip_skip: ClipSkip | None = None
    seed: WishedSeed | None = Field(None, description="Of the first image of each prompt. -1 or left out: drawn.")
    images_per_prompt: Count | None = Field(None, description="Left out: 1.")

    hires: Hires | None = Field(None, description="txt2img: a second pass.")
    image: ImageSource | None = None
    mask: ImageSource | None = None
    strength: Strength | None = None
    resize_mode: ResizeMode | None = None
    masked_content: MaskedContent | None = None
    area: InpaintArea | None = None
    padding: Pixels | None = Field(None, description="inpaint, area `masked`: pixels around the mask.")
    mask_blur: Blur | None = None
    invert_mask: bool | None = Field(None, description="inpaint: paint what is black in the mask.")
    left: Pixels | None = Field(None, description="outpaint: pixels to add on this side.")
    right: Pixels | None = None
    top: Pixels | None = None
    bottom: Pixels | None = None
    aspect: Aspect | None = None
    scale: Scale | None = Field(None, description="upscale: times the input's sides. Left out: 2.")
    upscaler: UpscaleMethod | None = None
    tile: Side | None = None
    overlap: Pixels | None = None

    image_format: ImageFormat | None = Field(None, description="Of the stored file. Left out: png.")
    quality: Quality | None = None

    @model_validator(mode="before")
    @classmethod
    def _older_sampler_names(cls, data: Any) -> Any:
        return split_name(data)


class PromptRow(ImageSettings):
    """One prompt of a job; what it leaves out is taken from the job."""

    prompt: Prompt


def _row_of_text(row: Any) -> Any:
    return {"prompt": row} if isinstance(row, str) else row


PromptEntry = Annotated[
    PromptRow,
    BeforeValidator(_row_of_text, json_schema_input_type=str | PromptRow),
]

SWEPT = (
    *("seed", "num_inference_steps", "guidance_scale", "sampler", "schedule_type", "checkpoint", "vae"),
    *("clip_skip", "size", "strength", "hires.strength", "prompt", "prompt_replace", "negative_prompt"),
)
"""What an axis may sweep beside the weights of LoRAs, in the order in which it is offered."""

_SWEPT_PATTERN = "|".join(SWEPT).replace(".", r"\.")

AxisField = Annotated[
    str,
    Field(
        pattern=rf"^({_SWEPT_PATTERN}|lora:[^:<>,]{{1,200}})$",
        description="A setting; `size` takes values like `512x768`; `prompt_replace` puts each value in the place "
        "of the first; `lora:NAME` sets that LoRA's weight.",
    ),
]


# Larger whole numbers are none that JSON programs agree on.
_Whole = Annotated[int, Field(strict=True, ge=-(2**53), le=2**53)]
_Decimal = Annotated[float, Field(strict=True, allow_inf_nan=False)]
AxisValue = Annotated[Text | _Whole | _Decimal, NUMBER]


class Axis(BaseModel):
    """One axis of a sweep: a setting, and the values that it takes in turn."""

    model_config = FROZEN

    field: AxisField
    values: list[AxisValue] = Field(min_length=1, max_length=MOST_VALUES)


class JobRequest(ImageSettings):
    """A job as a user submits it.

    Every prompt is rendered `images_per_prompt` times with the seeds `seed`, `seed + 1`, ...; without
    a seed each prompt draws its own, which is recorded with each image. Axes multiply that: each prompt is
    rendered at every point of the sweep.
    """

    mode: ModeName = USUAL_MODE
    prompts: list[PromptEntry] = Field(
        min_length=1, max_length=100_000, description="Prompts: strings, or objects with their own settings."
    )
    dynamic_prompts: Literal["random", "all", "off"] = Field(
        "random",
        description="How `{a|b}` and `__wildcards__` unfold: a choice for each image by its seed, all "
        "combinations, or not at all.",
    )
    deterministic: bool = Field(
        False, strict=True, description="Render each image alone, so that no batch size enters its pixels."
    )
    axes: list[Axis] = Field(default_factory=list, max_length=3, description="The X, Y and Z of a sweep.")
    combine: Literal["product", "zip"] = Field("product", description="All combinations, or side by side.")

    name: Title | None = None
    project: Title | None = None
    pool: Slug = "default"
    priority: Priority = 50
    not_before: Moment | None = Field(None, description="Start no image before this time.")
    deadline: Moment | None = Field(None, description="Cancel what has not started by this time.")
    class_: Literal["interactive", "bulk"] | None = Field(
        None,
        alias="class",
        description="Whether somebody waits for the images. Left out: jobs of at most four images are interactive.",
    )
    max_devices: Count | None = Field(
        None, description="Render on at most so many devices at a time. Left out: on any number."
    )

    @field_validator("seed", mode="after")
    @classmethod
    def _left_open(cls, seed: int | None) -> int | None:
        """For a whole job -1 means no more than leaving it out, which the release before understands, too."""
        return None if seed == -1 else seed

    @model_validator(mode="after")
    def _axes_fit(self) -> Self:
        fields = [axis.field for axis in self.axes]
        if len(set(fields)) < len(fields):
            raise ValueError("axes: each must sweep a field of its own")
        if self.combine == "zip" and len({len(axis.values) for axis in self.axes}) > 1:
            raise ValueError("axes: combined by zip they must have equally many values")
        return self

    @property
    def title(self) -> str:
        """The job's name, or else the first line of its first prompt, as far as it can be shown on one."""
        line = self.prompts[0].prompt.strip().split("\n")[0]
        return self.name or CONTROL.sub(" ", line).strip()[:80] or "untitled"

    @property
    def fingerprint(self) -> str:
        """The sha256 of the request: a repeat under one Idempotency-Key must match it, in whatever release."""
        return fingerprint(self)


_ONLY_OF_JOBS = {field.alias or name for name, field in JobRequest.model_fields.items()} - set(
    PromptRow.model_fields
)


def parse_request(data: Any) -> JobRequest:
    """Check a request from outside. Raises InvalidRequest with everything that is wrong, field by field."""
    try:
        return JobRequest.model_validate(data)
    except ValidationError as error:
        raise InvalidRequest([_as_of_a_row(problem) for problem in problems_of(error)]) from None


def _as_of_a_row(problem: FieldProblem) -> FieldProblem:
    """A prompt that sets what only a job can set has a field that there is, but not there."""
    row, _, name = problem.field.rpartition("].")
    if problem.message == NO_SUCH_FIELD and row.startswith("prompts[") and name in _ONLY_OF_JOBS:
        return FieldProblem(problem.field, "is set for the whole job, not for one prompt")
    return problem
