"""Draw Things: JSON in the user comment of XMP."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from farm.infotext.result import Infotext, NotRead, shorten
from farm.infotext.tools.jsontext import (
    KeyRule,
    append_lora_tag,
    collect_values,
    read_number,
    read_prompt,
    read_size_in,
    read_string,
    read_weights_name,
    read_whole,
)

MARKS = ("c", "uc", "sampler", "seed")
_TOOL = "Draw Things"
_WHAT = "a text of Draw Things"
_SIZE = re.compile(r"(\d{1,6})x(\d{1,6})")
_SAMPLERS = {"Euler A": "Euler a", "PLMS": "PLMS", "DPM++ SDE Karras": "DPM++ SDE Karras"}


def _translate_sampler(value: Any) -> str:
    name = read_string(value)
    return _SAMPLERS.get(name, name)


_TABLE: Mapping[str, KeyRule] = {
    "model": KeyRule("checkpoint", read_weights_name),
    "seed": KeyRule("seed", read_whole),
    "steps": KeyRule("num_inference_steps", read_whole),
    "scale": KeyRule("guidance_scale", read_number),
    "size": KeyRule("size", read_size_in(_SIZE)),
    "sampler": KeyRule("sampler", _translate_sampler),
    "strength": KeyRule("strength", read_number),
}
# `v2` says all of it again, in another form.
_HARMLESS = frozenset({"c", "uc", "lora", "v2", "profile", "seed_mode", "shift"})


def read_drawthings(data: Mapping[str, Any]) -> Infotext:
    collected = collect_values(_TOOL, data, _TABLE, _HARMLESS)
    prompt, negative = (read_prompt(data, key, _WHAT) for key in ("c", "uc"))
    for name, weight in _read_loras(data.get("lora") or []):
        prompt = append_lora_tag(prompt, name, weight)
    return collected.infotext(prompt, negative)


def _read_loras(loras: Any) -> Iterator[tuple[str, float]]:
    try:
        for lora in loras:
            yield read_weights_name(lora["model"]) or "", read_number(lora["weight"])
    except (KeyError, TypeError, ValueError):
        raise NotRead(f"holds {_WHAT} whose LoRAs cannot be read: {shorten(loras)}") from None
