"""InvokeAI from release 3 on: JSON in the PNG chunk `invokeai_metadata`."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from farm.infotext.result import Infotext, NotRead, parse_digest, shorten
from farm.infotext.tools.jsontext import (
    KeyRule,
    append_lora_tag,
    collect_values,
    read_number,
    read_prompt,
    read_string,
    read_weights_name,
    read_whole,
)
from farm.infotext.tools.sampling import translate_invoke_sampler

_TOOL = "InvokeAI"
_WHAT = "a text of InvokeAI"
# Compel's weights: `word++`, `(two words)1.2`, `("a", "b").blend(1, 1)`.
_COMPEL = re.compile(r"[\w)](?:\+{1,9}|-{2,9})(?=$|[\s,)])|\)\d*\.?\d|\)\.(?:blend|and|swap)\(")
_MODES = ("txt2img", "img2img", "inpaint", "outpaint")


def _read_model(value: Any) -> str | None:
    if not isinstance(value, dict):
        raise ValueError("no model")
    return read_weights_name(value.get("name", value.get("model_name")))


def _read_clip_skip(value: Any) -> int | None:
    """InvokeAI counts the layers left out; the WebUI's 1 leaves none out."""
    return read_whole(value) + 1 if value else None


def _read_mode(value: Any) -> str:
    """The mode at the end of names like `sdxl_img2img`."""
    mode = read_string(value).rpartition("_")[2]
    if mode not in _MODES:
        raise NotRead(f"holds {_WHAT} of a mode that is not supported here: {shorten(value)}")
    return mode


_TABLE: Mapping[str, KeyRule] = {
    "generation_mode": KeyRule("mode", _read_mode),
    "model": KeyRule("checkpoint", _read_model),
    "vae": KeyRule("vae", _read_model),
    "seed": KeyRule("seed", read_whole),
    "steps": KeyRule("num_inference_steps", read_whole),
    "cfg_scale": KeyRule("guidance_scale", read_number),
    "width": KeyRule("width", read_whole),
    "height": KeyRule("height", read_whole),
    "scheduler": KeyRule("sampler", read_string),
    "clip_skip": KeyRule("clip_skip", _read_clip_skip),
    "strength": KeyRule("strength", read_number),
}
_HARMLESS = frozenset(
    {"positive_prompt", "negative_prompt", "loras", "app_version", "rand_device", "canvas_v2_metadata"}
)


def read_invoke(data: Mapping[str, Any]) -> Infotext:
    collected = collect_values(_TOOL, data, _TABLE, _HARMLESS)
    if "sampler" in collected.values:
        collected.values |= translate_invoke_sampler(collected.values["sampler"])
    if isinstance(model := data.get("model"), dict):
        collected.model_hash = parse_digest(model.get("hash", model.get("model_hash")))
    if data.get("rand_device") not in (None, "cpu"):
        collected.warnings.append("its noise was drawn on a GPU and is drawn on the CPU here")
    prompt, negative = (read_prompt(data, key, _WHAT) for key in ("positive_prompt", "negative_prompt"))
    if _COMPEL.search(prompt) or _COMPEL.search(negative):
        collected.warnings.append("its prompt has weights in InvokeAI's syntax, which stay as they are written")
    for name, weight in _read_loras(data.get("loras") or []):
        prompt = append_lora_tag(prompt, name, weight)
    return collected.infotext(prompt, negative)


def _read_loras(loras: Any) -> Iterator[tuple[str, float]]:
    try:
        for lora in loras:
            name = _read_model(lora.get("model", lora.get("lora")))
            yield name or "", read_number(lora.get("weight", 1))
    except (AttributeError, TypeError, ValueError):
        raise NotRead(f"holds {_WHAT} whose loras cannot be read: {shorten(loras)}") from None
