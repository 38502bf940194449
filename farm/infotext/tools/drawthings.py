"""Draw Things: JSON in the user comment of XMP."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from farm.infotext.reading import Infotext, NotRead, shown
from farm.infotext.tools.jsontext import Entry, name_of, number, prompt_of, size_in, take, text_of, whole, with_lora

MARKS = ("c", "uc", "sampler", "seed")
_TOOL = "Draw Things"
_WHAT = "a text of Draw Things"
_SIZE = re.compile(r"(\d{1,6})x(\d{1,6})")
_SAMPLERS = {"Euler A": "Euler a", "PLMS": "PLMS", "DPM++ SDE Karras": "DPM++ SDE Karras"}


def _sampler(value: Any) -> str:
    name = text_of(value)
    return _SAMPLERS.get(name, name)


_TABLE: Mapping[str, Entry] = {
    "model": Entry("checkpoint", name_of),
    "seed": Entry("seed", whole),
    "steps": Entry("num_inference_steps", whole),
    "scale": Entry("guidance_scale", number),
    "size": Entry("size", size_in(_SIZE)),
    "sampler": Entry("sampler", _sampler),
    "strength": Entry("strength", number),
}
# `v2` says all of it again, in another form.
_HARMLESS = frozenset({"c", "uc", "lora", "v2", "profile", "seed_mode", "shift"})


def read_drawthings(data: Mapping[str, Any]) -> Infotext:
    taken = take(_TOOL, data, _TABLE, _HARMLESS)
    prompt, negative = (prompt_of(data, key, _WHAT) for key in ("c", "uc"))
    for name, weight in _loras(data.get("lora") or []):
        prompt = with_lora(prompt, name, weight)
    return taken.infotext(prompt, negative)


def _loras(loras: Any) -> Iterator[tuple[str, float]]:
    try:
        for lora in loras:
            yield name_of(lora["model"]) or "", number(lora["weight"])
    except (KeyError, TypeError, ValueError):
        raise NotRead(f"holds {_WHAT} whose LoRAs cannot be read: {shown(loras)}") from None
