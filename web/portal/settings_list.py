"""The settings of an image, as a job's page lists them: a title and a text each."""

from collections.abc import Iterator, Sequence
from typing import Any

from farm.hires import Hires
from farm.requests import Axis
from farm.specs import AddonRef, ImageSpec, LoraRef
from farm.sweeps import label
from web.portal.choices import WORDS
from web.portal.form import as_text

Row = tuple[str, str]

_MOST_VALUES = 12

# In the order of the page; what a mode does not have is left out.
_TITLES = {
    "checkpoint": "Checkpoint",
    "vae": "VAE",
    "loras": "LoRAs",
    "embeddings": "Embeddings",
    "sampler": "Sampler",
    "schedule_type": "Schedule type",
    "num_inference_steps": "Steps",
    "guidance_scale": "CFG scale",
    "clip_skip": "Clip skip",
    "seed": "First seed",
    "hires": "Hires fix",
    "strength": "Denoising strength",
    "resize_mode": "Where the size differs",
    "masked_content": "Under the mask",
    "area": "Rendered area",
    "padding": "Padding",
    "mask_blur": "Mask blur",
    "invert_mask": "Mask inverted",
    "upscaler": "Upscaler",
    "tile": "Tile",
    "overlap": "Overlap",
    "deterministic": "Rendered alone",
    "image_format": "Format",
    "quality": "Quality",
}
_SIDES = ("left", "right", "top", "bottom")


def rows_of(spec: ImageSpec) -> list[Row]:
    """What decides the image's pixels, but for its prompts and pictures."""
    named = ((title, _told(name, getattr(spec, name, None))) for name, title in _TITLES.items())
    return [(title, text) for title, text in (*named, *_sizes(spec)) if text]


def _told(name: str, value: Any) -> str:
    """A text for people; nothing for what is not set."""
    if name in WORDS:
        return dict(WORDS[name]).get(value, "")
    if isinstance(value, Hires):
        return _hires(value)
    if isinstance(value, tuple):
        return ", ".join(_addon(addon) for addon in value)
    if isinstance(value, AddonRef):
        return value.name
    return "yes" if value is True else as_text(value)


def _addon(addon: AddonRef) -> str:
    return f"{addon.name} at {addon.weight:g}" if isinstance(addon, LoraRef) else addon.name


def _hires(hires: Hires) -> str:
    target = _size(hires.width, hires.height) if hires.width and hires.height else f"by {hires.scale:g}"
    steps = f", {hires.num_inference_steps} steps" if hires.num_inference_steps else ""
    return f"{target} with {hires.upscaler}, strength {hires.strength:g}{steps}"


def _sizes(spec: ImageSpec) -> Iterator[Row]:
    yield "Size", _size(spec.width, spec.height)
    if spec.output_size != (spec.width, spec.height):
        yield "Size of the file", _size(*spec.output_size)
    added = [f"{name} {pixels}" for name in _SIDES if (pixels := getattr(spec, name, 0))]
    yield "Added", ", ".join(added)


def _size(width: int, height: int) -> str:
    return f"{width} \u00d7 {height}"


def axis_rows(axes: Sequence[Axis]) -> list[Row]:
    """The axes of a sweep with their values, as the grid labels them."""
    return [(f"Sweep {name}", _values(axis)) for name, axis in zip("XYZ", axes, strict=False)]


def _values(axis: Axis) -> str:
    shown = [label(axis, index) for index in range(min(len(axis.values), _MOST_VALUES))]
    titles = {text.partition(": ")[0] for text in shown if ": " in text}
    if len(titles) == 1 and axis.field not in ("prompt", "prompt_replace"):
        shown = [f"{titles.pop()}: {', '.join(text.partition(': ')[2] for text in shown)}"]
    more = len(axis.values) - _MOST_VALUES
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")
