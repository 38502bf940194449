"""The hash by which a repeat of a request is recognized: the same in every release, whatever this one is made of.

A job keeps the sha256 of its request, and a repeat under the same Idempotency-Key must match it. While a farm is
updated, portals of two releases answer side by side: each compares with what the other stored. So there is one
form for all releases, which is the one that 0.1.0 wrote: JSON without spaces, fields in the order of `_FORMS`,
and without those that were not given or have 0.1.0's default. Nothing in it depends on the order of declarations,
on today's defaults, on aliases, or on how a version of pydantic writes numbers and times.

- A field that is added needs nothing: it follows those of 0.1.0, by name, where a request gives it.
- A default that is changed needs nothing: a request that leaves the field out repeats one that left it out before,
  and one that gives 0.1.0's default repeats one that gave it before.
- A field that is renamed must go on under its old name here.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import cached_property
from typing import Any

from pydantic import BaseModel


@dataclass(frozen=True)
class _Form:
    """The fields of an object as 0.1.0 had them, in order, and its defaults where they were not None."""

    names: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def _places(self) -> Mapping[str, int]:
        return {name: place for place, name in enumerate(self.names)}

    def place(self, name: str) -> tuple[int, str]:
        """Where a field is written: those of 0.1.0 first, then the later ones by name."""
        return self._places.get(name, len(self.names)), name

    def default(self, model: BaseModel, name: str) -> Any:
        if name in self._places:
            return self.defaults.get(name)
        return type(model).model_fields[name].get_default(call_default_factory=True)


_SETTINGS = (
    *("negative_prompt", "styles", "checkpoint", "vae", "width", "height", "num_inference_steps", "guidance_scale"),
    *("sampler", "schedule_type", "clip_skip", "seed", "images_per_prompt", "hires", "image", "mask", "strength"),
    *("resize_mode", "masked_content", "area", "padding", "mask_blur", "invert_mask", "left", "right", "top"),
    *("bottom", "aspect", "scale", "upscaler", "tile", "overlap", "image_format", "quality"),
)
_JOB = _Form(
    (
        *_SETTINGS,
        *("mode", "prompts", "dynamic_prompts", "deterministic", "axes", "combine"),
        *("name", "project", "pool", "priority", "not_before", "deadline"),
    ),
    {
        "mode": "txt2img",
        "dynamic_prompts": "random",
        "deterministic": False,
        "axes": [],
        "combine": "product",
        "pool": "default",
        "priority": 50,
    },
)
_FORMS = {
    "prompts": _Form((*_SETTINGS, "prompt")),
    "hires": _Form(
        ("scale", "width", "height", "num_inference_steps", "strength", "upscaler"),
        {"strength": 0.7, "upscaler": "Latent"},
    ),
    "axes": _Form(("field", "values")),
}
"""The forms of what lies in a request, by the field that holds it."""

_UNKNOWN = _Form()

# json.dumps would build this once for each of a hundred thousand prompts.
_json = json.JSONEncoder(ensure_ascii=False).encode


def fingerprint(request: BaseModel) -> str:
    """The sha256 of a request, as 64 hex digits."""
    return hashlib.sha256(_serialize(request, _JOB).encode()).hexdigest()


def _serialize(value: Any, form: _Form) -> str:
    """A value as 0.1.0 wrote it; `form` is that of the objects in it."""
    match value:
        case str() | bool() | None:
            return _json(value)
        case int():
            return str(value)
        case float():
            return _decimal(value)
        case datetime():
            return _json(value.astimezone(UTC).isoformat().replace("+00:00", "Z"))
        case list() | tuple():
            return f"[{','.join(_serialize(item, form) for item in value)}]"
        case BaseModel():
            return f"{{{','.join(_members(value, form))}}}"
    raise TypeError(f"A request must not hold a {type(value).__name__}: its fingerprint has no form for it.")


def _members(model: BaseModel, form: _Form) -> Iterator[str]:
    """`"name":value` of each field that a request gives and that has another value than 0.1.0's default."""
    for name in sorted(model.model_fields_set, key=form.place):
        value = getattr(model, name)
        if value != form.default(model, name):
            yield f'"{name}":{_serialize(value, _FORMS.get(name, _UNKNOWN))}'


def _decimal(value: float) -> str:
    """The shortest digits, as Python has them, too; the exponents as 0.1.0's pydantic wrote them."""
    digits, _, exponent = repr(value).partition("e")
    if exponent == "-05":
        return format(Decimal(repr(value)), "f")
    return f"{digits}e{int(exponent):+d}" if exponent else digits
