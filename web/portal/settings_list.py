"""The settings of an image, as a job's page lists them: a title and a text each."""

from collections.abc import Iterator, Sequence
from typing import Any

from farm.intake.request import Axis
from farm.intake.sweeps.sweep import label
from farm.spec.hires import Hires
from farm.spec.image import AddonRef, ImageSpec, LoraRef
from farm.spec.settingnames import TITLES
from web.portal.submit.choices import WORDS
from web.portal.submit.form import as_text

Row = tuple[str, str]

_MOST_VALUES = 12

# In the order of the page; what a mode does not have is left out.
_LISTED = (
    *("checkpoint", "vae", "loras", "embeddings", "sampler", "schedule_type", "num_inference_steps"),
    *("guidance_scale", "clip_skip", "seed", "hires", "strength", "resize_mode", "masked_content"),
    *("area", "padding", "mask_blur", "invert_mask", "upscaler", "tile", "overlap", "deterministic"),
    *("image_format", "quality"),
)
# Of a job's images only the first has it.
_TITLES = {**TITLES, "seed": "First seed"}
_SIDES = ("left", "right", "top", "bottom")


def rows_of(spec: ImageSpec) -> list[Row]:
    """What decides the image's pixels, but for its prompts and pictures."""
    named = ((_TITLES[name], _told(name, getattr(spec, name, None))) for name in _LISTED)
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
    yield TITLES["size"], _size(spec.width, spec.height)
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
