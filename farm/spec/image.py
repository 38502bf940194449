"""The frozen spec of each image: everything that decides its pixels, mode by mode."""

import hashlib
import json
import math
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, model_validator

from farm.spec.fields import (
    FROZEN,
    PICTURES,
    Blur,
    ClipSkip,
    Digest,
    Guidance,
    ImageFormat,
    InpaintArea,
    MaskedContent,
    Name,
    Pixels,
    Prompt,
    Quality,
    ResizeMode,
    SamplerName,
    ScheduleType,
    Seed,
    Side,
    Steps,
    Strength,
    Text,
    UpscaleMethod,
    Weight,
)
from farm.spec.hires import Hires
from farm.spec.samplers import AUTOMATIC, DEFAULT_SAMPLER, SAMPLERS, check_pair, split_name


class AddonRef(BaseModel):
    """A VAE, an embedding or a LoRA as it was when the job was accepted."""

    model_config = FROZEN

    name: Name
    sha256: Digest


class LoraRef(AddonRef):
    """A LoRA at its weight on the UNet, and on the text encoder where that differs."""

    weight: Weight = 1.0
    text_weight: Weight | None = None


_VARIES = frozenset(
    {
        # Its weights are in the key; what they are called is not.
        "checkpoint",
        *("prompt", "negative_prompt", "embeddings", "guidance_scale", "clip_skip", "seed"),
        *("image_format", "quality", *PICTURES),
    }
)


class ImageSpec(BaseModel):
    """The spec of one image, of whichever mode: what every mode takes.

    Width and height are those of the pixels that are denoised. A class for each mode adds its own fields, names
    its mode, and says by these properties and by `varies_in_a_batch` in what it differs.
    """

    model_config = FROZEN

    varies_in_a_batch: ClassVar[frozenset[str]] = _VARIES
    """The fields that may differ within one pipeline call; all others are shared."""

    checkpoint: Name
    vae: AddonRef | None = None
    loras: tuple[LoraRef, ...] = ()
    embeddings: tuple[AddonRef, ...] = ()
    prompt: Prompt
    negative_prompt: Text = ""
    width: Side = 512
    height: Side = 512
    num_inference_steps: Steps = 20
    guidance_scale: Guidance = 7.0
    sampler: SamplerName = DEFAULT_SAMPLER
    schedule_type: ScheduleType = AUTOMATIC
    clip_skip: ClipSkip = 1
    seed: Seed
    deterministic: bool = False
    image_format: ImageFormat = "png"
    quality: Quality | None = None
    mode: str

    @model_validator(mode="before")
    @classmethod
    def _older_sampler_names(cls, data: Any) -> Any:
        return split_name(data)

    @model_validator(mode="after")
    def _sampler_suits(self) -> Self:
        check_pair(self.sampler, self.schedule_type)
        self._check_steps("num_inference_steps", self.num_inference_steps)
        return self

    def _check_steps(self, field: str, steps: int) -> None:
        limit = SAMPLERS[self.sampler].max_steps
        if steps > limit:
            raise ValueError(f"{field}: {self.sampler} takes at most {limit} steps")

    @property
    def is_guided(self) -> bool:
        """Whether the negative prompt takes part (classifier-free guidance), as diffusers decides it."""
        return self.guidance_scale > 1

    @property
    def output_size(self) -> tuple[int, int]:
        """Width and height of the stored image, in pixels."""
        return self.width, self.height

    @property
    def rendered_sizes(self) -> tuple[tuple[int, int], ...]:
        """Width and height of what is rendered, pass by pass: what is only pasted back does not count."""
        return ((self.width, self.height),)

    @property
    def heaviest_size(self) -> tuple[int, int]:
        """Width and height of the largest picture that UNet and VAE see at once: it decides the memory needed."""
        return self.width, self.height

    @property
    def inputs(self) -> tuple[str, ...]:
        """The sha256 of each uploaded picture that it needs."""
        return ()


class TextToImageSpec(ImageSpec):
    """A picture from text alone, with a second pass where `hires` is set."""

    mode: Literal["txt2img"] = "txt2img"
    hires: Hires | None = None

    @model_validator(mode="after")
    def _sampler_suits_the_second_pass(self) -> Self:
        if self.hires and self.hires.num_inference_steps:
            self._check_steps("hires.num_inference_steps", self.hires.num_inference_steps)
        return self

    @property
    def output_size(self) -> tuple[int, int]:
        return self.hires.size(self.width, self.height) if self.hires else (self.width, self.height)

    @property
    def rendered_sizes(self) -> tuple[tuple[int, int], ...]:
        first = self.width, self.height
        return (first, self.output_size) if self.hires else (first,)

    @property
    def heaviest_size(self) -> tuple[int, int]:
        return max(self.rendered_sizes, key=math.prod)


class ImageToImageSpec(ImageSpec):
    """A picture from another one. `image` is the sha256 of an upload."""

    mode: Literal["img2img"] = "img2img"
    image: Digest
    strength: Strength = 0.75
    resize_mode: ResizeMode = "stretch"

    @property
    def inputs(self) -> tuple[str, ...]:
        return (self.image,)


class InpaintSpec(ImageSpec):
    """A picture with the masked part repainted: white in the mask is painted, unless it is inverted.

    With the area `masked` the region around the mask is rendered at width x height and pasted back
    into the input, whose size is the output's; `input_size` holds it.
    """

    varies_in_a_batch: ClassVar[frozenset[str]] = _VARIES | {"input_size"}

    mode: Literal["inpaint"] = "inpaint"
    image: Digest
    mask: Digest
    strength: Strength = 0.75
    resize_mode: ResizeMode = "stretch"
    masked_content: MaskedContent = "original"
    area: InpaintArea = "whole"
    padding: Pixels = 32
    mask_blur: Blur = 4
    invert_mask: bool = False
    input_size: tuple[int, int]

    @property
    def output_size(self) -> tuple[int, int]:
        return self.input_size if self.area == "masked" else (self.width, self.height)

    @property
    def inputs(self) -> tuple[str, ...]:
        return self.image, self.mask


class OutpaintSpec(ImageSpec):
    """A picture continued beyond its sides, by so many pixels each. Width and height are the output's."""

    mode: Literal["outpaint"] = "outpaint"
    image: Digest
    left: Pixels = 0
    right: Pixels = 0
    top: Pixels = 0
    bottom: Pixels = 0
    strength: Strength = 0.8
    mask_blur: Blur = 16

    @property
    def inputs(self) -> tuple[str, ...]:
        return (self.image,)


class UpscaleSpec(ImageSpec):
    """A picture enlarged. Width and height are the output's; tiles are squares of `tile` pixels."""

    mode: Literal["upscale"] = "upscale"
    image: Digest
    prompt: Prompt = ""
    upscaler: UpscaleMethod = "Lanczos"
    strength: Strength = 0.3
    tile: Side = 512
    overlap: Pixels = 64

    @model_validator(mode="after")
    def _tiles_advance(self) -> Self:
        if self.overlap * 2 > self.tile:
            raise ValueError(f"overlap: must be at most half of a tile's {self.tile} pixels")
        return self

    @property
    def heaviest_size(self) -> tuple[int, int]:
        return min(self.tile, self.width), min(self.tile, self.height)

    @property
    def inputs(self) -> tuple[str, ...]:
        return (self.image,)


def batch_key(
    spec: ImageSpec, checkpoint_sha256: str, family: str, text_shape: tuple[int, int, int] = (1, 1, 1)
) -> str:
    """16 hex digits that are equal for images that one pipeline call can render together.

    `text_shape` is that of `farm.prompts.lengths.estimate_shape`.
    """
    alike = spec.model_dump(mode="json", exclude=set(spec.varies_in_a_batch))
    # Short texts have the key that they had before texts were measured.
    shared = [checkpoint_sha256, family, spec.is_guided, alike, *(text_shape if max(text_shape) > 1 else ())]
    return hashlib.sha256(json.dumps(shared, sort_keys=True).encode()).hexdigest()[:16]
