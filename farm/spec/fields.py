"""The types of the fields that requests and specs share: what each may hold, and what is said when it does not."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, ConfigDict, Field, WithJsonSchema

from farm.spec import digests
from farm.spec.samplers import SAMPLERS, SCHEDULE_TYPES, known_sampler, known_schedule_type

FROZEN = ConfigDict(frozen=True, extra="forbid")
"""How requests and specs are configured: nothing in them changes, and what they do not know is refused."""

SEEDS = 2**32
"""Seeds run from 0 to SEEDS - 1, as in the WebUI."""

LONGEST_SIDE = 8192
MOST_PIXELS = 4096
"""How far a picture may be continued on one side, in pixels."""

# C0, DEL, C1, and the line breaks that only Unicode knows.
CONTROLS = r"\u0000-\u001f\u007f-\u009f\u2028\u2029"
CONTROL = re.compile(f"[{CONTROLS}]")


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
    if CONTROL.search(text):
        raise ValueError("must not contain line breaks or control characters")
    return text


def _not_a_truth_value(value: Any) -> Any:
    """Python counts true as 1; a request that gives it for a number means something else."""
    if isinstance(value, bool):
        raise ValueError("must be a number")
    return value


def _not_a_number(value: Any) -> Any:
    """A bare number might be seconds or milliseconds of any epoch."""
    if not isinstance(value, datetime) and ":" not in str(value):
        raise ValueError("must be a time with its zone, like 2030-01-31T08:00:00Z")
    return value


# Always the last of its type: the JSON schema leaves out what follows a BeforeValidator.
NUMBER = BeforeValidator(_not_a_truth_value)

Text = Annotated[
    str, Field(max_length=10_000, json_schema_extra={"pattern": r"^[^\u0000]*$"}), AfterValidator(_printable)
]
Prompt = Annotated[Text, Field(description="What the image shows.")]
Side = Annotated[
    int,
    Field(ge=64, le=LONGEST_SIDE, json_schema_extra={"multipleOf": 8}),
    AfterValidator(_multiple_of_8),
    NUMBER,
]
Steps = Annotated[int, Field(ge=1, le=150), NUMBER]
Guidance = Annotated[float, Field(ge=0, le=30, allow_inf_nan=False), NUMBER]
Seed = Annotated[int, Field(ge=0, lt=SEEDS), NUMBER]
WishedSeed = Annotated[int, Field(ge=-1, lt=SEEDS), NUMBER]
"""A seed as it is asked for: -1 asks for one that is drawn, as everywhere."""
ClipSkip = Annotated[
    int,
    Field(ge=1, le=12, description="As in the WebUI: 1 is the last layer of the text encoder, 2 the one before."),
    NUMBER,
]
Strength = Annotated[
    float,
    Field(gt=0, le=1, allow_inf_nan=False, description="Denoising strength: the share of the steps that are run."),
    NUMBER,
]
Scale = Annotated[float, Field(gt=1, le=8, allow_inf_nan=False), NUMBER]
Pixels = Annotated[int, Field(ge=0, le=MOST_PIXELS), NUMBER]
Blur = Annotated[int, Field(ge=0, le=64, description="In pixels."), NUMBER]
LARGEST_LORA_WEIGHT = 10
Weight = Annotated[float, Field(ge=-LARGEST_LORA_WEIGHT, le=LARGEST_LORA_WEIGHT, allow_inf_nan=False), NUMBER]
Digest = Annotated[str, Field(pattern=f"^{digests.PATTERN}$")]
SamplerName = Annotated[
    str,
    AfterValidator(known_sampler),
    WithJsonSchema({"type": "string", "enum": list(SAMPLERS)}),
]
ScheduleType = Annotated[
    str,
    AfterValidator(known_schedule_type),
    WithJsonSchema({"type": "string", "enum": list(SCHEDULE_TYPES)}),
]
Name = Annotated[
    str,
    Field(min_length=1, max_length=200, json_schema_extra={"pattern": r"^[^\u0000]*$"}),
    AfterValidator(_printable),
]
Title = Annotated[Name, Field(json_schema_extra={"pattern": f"^[^{CONTROLS}]*$"}), AfterValidator(_on_one_line)]
Moment = Annotated[AwareDatetime, BeforeValidator(_not_a_number), AfterValidator(_in_utc)]
Count = Annotated[int, Field(ge=1, le=10_000), NUMBER]
Priority = Annotated[int, Field(ge=0, le=100, description="Higher goes first."), NUMBER]
Slug = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]

ResizeMode = Annotated[
    Literal["stretch", "crop", "fill", "latent"],
    Field(description="How an input of another size is brought to the asked one."),
]
MaskedContent = Annotated[
    Literal["fill", "original", "latent_noise", "latent_nothing"],
    Field(description="What lies under the mask before the first step."),
]
InpaintArea = Annotated[
    Literal["whole", "masked"],
    Field(description="Render the whole picture, or only the masked region at the asked size, pasted back."),
]
HiresUpscaler = Annotated[
    Literal["Latent", "Latent (antialiased)", "Latent (bicubic)", "Latent (nearest)", "Lanczos"],
    Field(description="What enlarges the picture between the passes."),
]
UpscaleMethod = Annotated[
    Literal["Lanczos", "SD upscale"],
    Field(description="Lanczos alone, or tiles rendered over it, blended at the seams."),
]
PICTURES: Mapping[str, Literal["input", "mask"]] = {"image": "input", "mask": "mask"}
"""The fields that hold a picture, and as what each is kept: the same picture is another one as a mask."""

ImageFormat = Literal["png", "jpeg", "webp", "avif"]
Quality = Annotated[int, Field(ge=1, le=100, description="Of JPEG, WebP and AVIF."), NUMBER]
