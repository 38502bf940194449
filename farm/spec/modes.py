"""The modes: a record each, of what tells them apart beside the fields of their specs and how they are rendered."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, TypeVar

from pydantic import PlainValidator, SerializeAsAny, TypeAdapter

from farm.spec import sizes
from farm.spec.image import ImageSpec, ImageToImageSpec, InpaintSpec, OutpaintSpec, TextToImageSpec, UpscaleSpec
from farm.spec.sizes import SizeRule

_Spec = TypeVar("_Spec", bound=ImageSpec)


@dataclass(frozen=True)
class Mode(Generic[_Spec]):
    """One mode: how its images are asked for, what size they get, and what they cost.

    - `spec`: the class of its specs.
    - `takes`: the settings that a request may give. Those that are no fields of the spec become some of its fields.
    - `needs`: those of them that a request must give; the pictures that it begins from.
    - `size_rule`: from these settings to the size that is rendered, and what else of the spec follows from sizes.
    - `pixel_steps`: how much there is to denoise for an image: its pixels times its steps, over all its passes.
    - `implied_by`: the settings that call for this mode where a command names none.

    Its renderer is found by its name in `workers.modes.RENDERS`, its part of the form in `web/templates/modes`.
    """

    name: str
    spec: type[_Spec]
    takes: frozenset[str]
    size_rule: SizeRule
    pixel_steps: Callable[[_Spec], float]
    needs: tuple[str, ...] = ()
    implied_by: frozenset[str] = frozenset()

    @property
    def derived_fields(self) -> frozenset[str]:
        """The fields of the spec that no request for this mode gives: they follow from others."""
        return frozenset(self.spec.model_fields) - self.takes - {"mode"}

    @property
    def needs_prompt(self) -> bool:
        return self.spec.model_fields["prompt"].is_required()


def _steps_of_both_passes(spec: TextToImageSpec) -> float:
    first = float(spec.width * spec.height * spec.num_inference_steps)
    if spec.hires is None:
        return first
    width, height = spec.output_size
    return first + width * height * spec.hires.steps(spec.num_inference_steps) * spec.hires.strength


def _steps_over_a_picture(spec: ImageToImageSpec | InpaintSpec | OutpaintSpec) -> float:
    return float(spec.width * spec.height) * spec.num_inference_steps * spec.strength


def _steps_over_tiles(spec: UpscaleSpec) -> float:
    """Lanczos alone denoises nothing; where tiles overlap their pixels count twice."""
    if spec.upscaler == "Lanczos":
        return 0.0
    overlapping = (spec.tile / (spec.tile - spec.overlap)) ** 2
    return float(spec.width * spec.height) * overlapping * spec.num_inference_steps * spec.strength


_EVERY_MODE = frozenset(
    {
        *("prompt", "negative_prompt", "styles", "checkpoint", "vae", "clip_skip", "seed", "deterministic"),
        *("num_inference_steps", "guidance_scale", "sampler", "schedule_type", "image_format", "quality"),
    }
)
_SIZED = _EVERY_MODE | {"width", "height"}
_OVER_A_PICTURE = frozenset({"image", "strength", "resize_mode"})
_MASKED = frozenset({"mask", "masked_content", "area", "padding", "invert_mask"})
_SIDES = frozenset({"left", "right", "top", "bottom", "aspect"})
_ENLARGED = frozenset({"scale", "upscaler", "tile", "overlap"})

# In the order of the form's tabs.
_TABLE: tuple[Mode[Any], ...] = (
    Mode(
        "txt2img",
        TextToImageSpec,
        takes=_SIZED | {"hires"},
        size_rule=sizes.size_of_checkpoint,
        pixel_steps=_steps_of_both_passes,
    ),
    Mode(
        "img2img",
        ImageToImageSpec,
        takes=_SIZED | _OVER_A_PICTURE,
        needs=("image",),
        size_rule=sizes.size_of_picture,
        pixel_steps=_steps_over_a_picture,
        implied_by=_OVER_A_PICTURE,
    ),
    Mode(
        "inpaint",
        InpaintSpec,
        takes=_SIZED | _OVER_A_PICTURE | _MASKED | {"mask_blur"},
        needs=("image", "mask"),
        size_rule=sizes.size_of_picture_or_region,
        pixel_steps=_steps_over_a_picture,
        implied_by=_MASKED,
    ),
    Mode(
        "outpaint",
        OutpaintSpec,
        takes=_EVERY_MODE | {"image", "strength", "mask_blur"} | _SIDES,
        needs=("image",),
        size_rule=sizes.size_with_sides,
        pixel_steps=_steps_over_a_picture,
        implied_by=_SIDES,
    ),
    Mode(
        "upscale",
        UpscaleSpec,
        takes=_SIZED | {"image", "strength"} | _ENLARGED,
        needs=("image",),
        size_rule=sizes.size_enlarged,
        pixel_steps=_steps_over_tiles,
        implied_by=_ENLARGED,
    ),
)

MODES: Mapping[str, Mode[Any]] = {mode.name: mode for mode in _TABLE}

USUAL_MODE = "txt2img"
"""What is meant where no mode is named."""

if TYPE_CHECKING:
    ModeName = str
else:
    # The names of the table, as pydantic checks and documents them; no checker of types can read that.
    ModeName = Literal[tuple(MODES)]

_NAME: TypeAdapter[str] = TypeAdapter(ModeName)


def read_spec(data: Mapping[str, Any]) -> ImageSpec:
    """A spec as it was stored. Raises pydantic's ValidationError."""
    mode = _NAME.validate_python(data.get("mode", USUAL_MODE))
    spec: ImageSpec = MODES[mode].spec.model_validate({**data, "mode": mode})
    return spec


def _as_spec(data: ImageSpec | Mapping[str, Any]) -> ImageSpec:
    return data if isinstance(data, ImageSpec) else read_spec(data)


AnySpec = Annotated[SerializeAsAny[ImageSpec], PlainValidator(_as_spec)]
"""A spec of whatever mode as a field of what is written and read: with all the fields of its mode."""


def pixel_steps(spec: ImageSpec) -> float:
    """How much there is to denoise for an image: its pixels times its steps, over all its passes."""
    return MODES[spec.mode].pixel_steps(spec)
