"""From the spec of an image to its parameters text, which holds all of it."""

from collections.abc import Iterable, Mapping
from typing import Any

from farm import __version__
from farm.infotext.grammar import compose, parse
from farm.infotext.keys import KEYS, RecordedAddons
from farm.spec.digests import shorten_digest
from farm.spec.hires import Hires
from farm.spec.image import AddonRef, ImageSpec
from farm.spec.modes import USUAL_MODE

VERSION = f"diffusion-farm {__version__}"

_ELSEWHERE = frozenset({"prompt", "negative_prompt", "width", "height", "hires", "vae", "loras", "embeddings"})

# Like the WebUI, nothing is said where these are as usual.
_UNSAID = frozenset(
    {
        *("mode", "clip_skip", "deterministic", "image_format", "resize_mode"),
        *("invert_mask", "area", "padding", "masked_content", "left", "right", "top", "bottom"),
    }
)


def infotext(spec: ImageSpec, checkpoint_sha256: str) -> str:
    """The parameters text of one image.

    A prompt that the WebUI's grammar would change (spaces at its ends, a line that begins with `Negative
    prompt:`) stands in it once more under a key of its own.
    """
    values = _values(spec, checkpoint_sha256)
    text = _text(spec, values)
    read = parse(text)
    for field in ("prompt", "negative_prompt"):
        if getattr(read, field) != getattr(spec, field):
            values[field] = getattr(spec, field)
    return _text(spec, values)


def _text(spec: ImageSpec, values: Mapping[str, Any]) -> str:
    items = [(key.name, key.kind.quote(key.kind.write(values[key.field]))) for key in KEYS if key.field in values]
    return compose(spec.prompt, spec.negative_prompt, items)


def _values(spec: ImageSpec, checkpoint_sha256: str) -> dict[str, Any]:
    values = {
        "size": (spec.width, spec.height),
        "model_hash": shorten_digest(checkpoint_sha256),
        "rng": "CPU",
        "version": VERSION,
        **_said(spec),
        **_addons(spec),
    }
    hires = getattr(spec, "hires", None)
    return {**values, **_second_pass(hires)} if hires else values


def _said(spec: ImageSpec) -> dict[str, Any]:
    said = {name: getattr(spec, name) for name in type(spec).model_fields if name not in _ELSEWHERE}
    usual = {name: spec.__class__.model_fields[name].default for name in _UNSAID & said.keys()}
    if said.get("area") == "masked":
        del usual["padding"]
    if spec.mode != USUAL_MODE:
        del usual["mode"]
    return {name: value for name, value in said.items() if value is not None and value != usual.get(name)}


def _second_pass(hires: Hires) -> dict[str, Any]:
    values = {"strength": hires.strength, "hires.upscaler": hires.upscaler}
    if hires.num_inference_steps is not None:
        values["hires.num_inference_steps"] = hires.num_inference_steps
    if hires.scale is not None:
        return {**values, "hires.scale": hires.scale}
    return {**values, "hires.size": (hires.width, hires.height)}


def _addons(spec: ImageSpec) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if spec.vae:
        values |= {"vae_hash": shorten_digest(spec.vae.sha256), "vae": spec.vae.name}
    if spec.loras:
        values["lora_hashes"] = _hashes(spec.loras)
    if spec.embeddings:
        values["embedding_hashes"] = _hashes(spec.embeddings)
    addons = RecordedAddons(vae=spec.vae, loras=spec.loras, embeddings=spec.embeddings)
    return {**values, "addons": addons} if addons else values


def _hashes(addons: Iterable[AddonRef]) -> str:
    """`name: hash, name: hash`, the names without what would end them."""
    return ", ".join(f"{addon.name.replace(':', '').replace(',', '')}: {addon.sha256[:12]}" for addon in addons)
