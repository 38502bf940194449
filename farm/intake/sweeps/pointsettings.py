"""The settings of a prompt at a point of a sweep, joined from the job, the prompt, the axes and the styles."""

import re
import secrets
from collections.abc import Sequence
from typing import Any

from farm.intake.library import Library
from farm.intake.request import Axis, ImageSettings, JobRequest
from farm.intake.sweeps.sweep import LORA_AXIS, Point, Value
from farm.prompts.styles import apply_styles
from farm.spec.budget import LONGEST_PROMPT
from farm.spec.fields import LARGEST_LORA_WEIGHT, SEEDS
from farm.spec.names import plain
from farm.spec.sizes import Misfit, Settings, read_size

_SETTINGS = tuple(name for name in ImageSettings.model_fields if name not in ("seed", "images_per_prompt"))

_LORA_TAG = re.compile(r"<(?:lora|lyco):([^<>:]+)(?::[^<>]*)?>")


class PromptSettings:
    """The settings of each prompt of a request at each point. An open seed is drawn once for a prompt."""

    def __init__(self, request: JobRequest, library: Library) -> None:
        self._request = request
        self._library = library
        self._shared = {**_only_checkpoint(library), **given_settings(request)}
        # One for a prompt at all points of the sweep: what is compared differs in the axes alone.
        self._seeds = [_first_seed(request, row) for row in request.prompts]

    def at(self, row: int, point: Point) -> dict[str, Any]:
        """The settings of a prompt, counted from 0, at a point.

        1. The job's, and over them the prompt's own.
        2. What the axes set.
        3. The styles, put into the prompts.
        4. The weights of LoRAs, which the styles may have brought.

        Raises Misfit; InvalidRequest where styles make a prompt too long.
        """
        own = self._request.prompts[row]
        settings = {**self._shared, **given_settings(own), "prompt": own.prompt, "seed": self._seeds[row]}
        settings = _apply_axes(settings, self._request.axes, point)
        settings = apply_named_styles(settings, self._library)
        return _apply_lora_weights(settings, self._request.axes, point)


def _only_checkpoint(library: Library) -> dict[str, object]:
    """The checkpoint, where only one can be meant."""
    return {"checkpoint": next(iter(library.checkpoints))} if len(library.checkpoints) == 1 else {}


def _first_seed(request: JobRequest, row: ImageSettings) -> int:
    given = row.seed if row.seed is not None else request.seed
    return secrets.randbelow(SEEDS) if given in (None, -1) else given


def given_settings(settings: ImageSettings) -> dict[str, object]:
    """The settings that were given, without those that were left out."""
    found = {name: value for name in _SETTINGS if (value := getattr(settings, name)) is not None}
    if (hires := found.get("hires")) is not None:
        found["hires"] = hires.model_dump(exclude_none=True)
    return found


def apply_named_styles(settings: Settings, library: Library) -> dict[str, Any]:
    """The settings with the styles in the prompts; an unknown name stays, for `resolve_spec` to refuse."""
    names = settings.get("styles", ())
    known = [library.styles[name] for name in names if name in library.styles]
    prompt, negative = apply_styles(settings["prompt"], settings.get("negative_prompt", ""), known)
    rest = {name: value for name, value in settings.items() if name != "styles"}
    unknown_names = [name for name in names if name not in library.styles]
    return {
        **rest,
        "prompt": prompt,
        "negative_prompt": negative,
        **({"styles": unknown_names} if unknown_names else {}),
    }


# What is applied first: a prompt is there before anything is replaced in it.
_FIRST = ("prompt", "negative_prompt", "prompt_replace")


def _apply_axes(settings: Settings, axes: Sequence[Axis], point: Point) -> dict[str, Any]:
    """The settings at a point of the sweep, but for the weights of LoRAs. Raises Misfit."""
    changed = dict(settings)
    order = {name: number for number, name in enumerate(_FIRST)}
    for axis, index in sorted(zip(axes, point, strict=True), key=lambda pair: order.get(pair[0].field, len(order))):
        if not axis.field.startswith(LORA_AXIS):
            changed.update(_changes(changed, axis, axis.values[index]))
    return changed


def _apply_lora_weights(settings: Settings, axes: Sequence[Axis], point: Point) -> dict[str, Any]:
    """The settings with the weights of LoRAs at a point of the sweep, once the prompt has its styles."""
    prompt = settings["prompt"]
    for axis, index in zip(axes, point, strict=True):
        if axis.field.startswith(LORA_AXIS):
            prompt = _weigh_lora(prompt, axis.field, axis.values[index])
    return {**settings, "prompt": prompt}


def _changes(settings: Settings, axis: Axis, value: Value) -> dict[str, Any]:
    if axis.field == "size":
        return _size_settings(value)
    if axis.field == "prompt_replace":
        return _replace_in_prompts(settings, str(axis.values[0]), str(value))
    if axis.field == "seed":
        return {"seed": _read_seed(value)}
    if axis.field == "hires.strength":
        if "hires" not in settings:
            raise Misfit("hires.strength", "hires must be set for its strength to be swept")
        return {"hires": {**settings["hires"], "strength": value}}
    # A number may stand for a text, as for a prompt like `7`.
    is_text = axis.field in ("prompt", "negative_prompt", "checkpoint", "vae", "sampler", "schedule_type")
    changes: dict[str, Any] = {axis.field: str(value) if is_text else value}
    return changes


def _size_settings(value: Value) -> dict[str, Any]:
    size = read_size(str(value))
    if size is None:
        raise Misfit("size", f"{str(value)[:40]!r} is not a size such as 512x768")
    return {"width": size[0], "height": size[1]}


def _replace_in_prompts(settings: Settings, wanted: str, value: str) -> dict[str, Any]:
    texts = {name: settings[name] for name in ("prompt", "negative_prompt") if name in settings}
    if not wanted:
        raise Misfit("prompt_replace", "the first value is what to look for, and must not be empty")
    if not any(wanted in text for text in texts.values()):
        raise Misfit("prompt_replace", f"{wanted[:80]!r} is in no prompt")
    # Known from the lengths, before the text is made: both may be long, and occur often.
    length = max(len(text) + text.count(wanted) * (len(value) - len(wanted)) for text in texts.values())
    if length > LONGEST_PROMPT:
        message = f"would make a prompt of {length:,} characters; at most {LONGEST_PROMPT:,} are allowed"
        raise Misfit("prompt_replace", message)
    return {name: text.replace(wanted, value) for name, text in texts.items()}


def _weigh_lora(prompt: str, field: str, value: Value) -> str:
    """The prompt with this weight in the LoRA's tags; one that has no such tag gets one.

    Of several tags the first has the weight, and the others none: they would add up.
    """
    name, weight = field.removeprefix(LORA_AXIS), _read_lora_weight(field, value)
    wanted, tag, found = plain(name), f"<lora:{name}:{weight}>", 0

    def weigh(match: re.Match[str]) -> str:
        nonlocal found
        if plain(match[1]) != wanted:
            return match[0]
        found += 1
        return tag if found == 1 else ""

    changed = _LORA_TAG.sub(weigh, prompt)
    return changed if found else f"{prompt} {tag}"


def _read_lora_weight(field: str, value: Value) -> str:
    """As a tag may have it: never like 1e-05."""
    try:
        weight = float(value)
    except (ValueError, OverflowError):
        raise Misfit(field, f"{str(value)[:40]!r} is not a weight") from None
    if not abs(weight) <= LARGEST_LORA_WEIGHT:
        raise Misfit(field, f"a weight is from -{LARGEST_LORA_WEIGHT} to {LARGEST_LORA_WEIGHT}")
    return f"{weight:.6f}".rstrip("0").rstrip(".")


def _read_seed(value: Value) -> int:
    text = str(value)
    if not (text.isascii() and text.isdecimal() and len(text) <= 10 and int(text) < SEEDS):
        raise Misfit("seed", f"{text[:40]!r} is not a seed: a whole number below {SEEDS}")
    return int(text)
