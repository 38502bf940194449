"""InvokeAI from release 3 on: JSON in the PNG chunk `invokeai_metadata`."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from farm.infotext.reading import Infotext, NotRead, comparable, shown
from farm.infotext.tools.jsontext import Entry, name_of, number, prompt_of, take, text_of, whole, with_lora
from farm.infotext.tools.sampling import invoke_sampler

_TOOL = "InvokeAI"
_WHAT = "a text of InvokeAI"
# Compel's weights: `word++`, `(two words)1.2`, `("a", "b").blend(1, 1)`.
_COMPEL = re.compile(r"[\w)](?:\+{1,9}|-{2,9})(?=$|[\s,)])|\)\d*\.?\d|\)\.(?:blend|and|swap)\(")
_MODES = ("txt2img", "img2img", "inpaint", "outpaint")


def _model(value: Any) -> str | None:
    if not isinstance(value, dict):
        raise ValueError("no model")
    return name_of(value.get("name", value.get("model_name")))


def _clip_skip(value: Any) -> int | None:
    """It counts the layers left out."""
    return whole(value) + 1 if value else None


def _mode(value: Any) -> str:
    """The end of such as `sdxl_img2img`."""
    mode = text_of(value).rpartition("_")[2]
    if mode not in _MODES:
        raise NotRead(f"holds {_WHAT} of a kind that is not rendered here: {shown(value)}")
    return mode


_TABLE: Mapping[str, Entry] = {
    "generation_mode": Entry("mode", _mode),
    "model": Entry("checkpoint", _model),
    "vae": Entry("vae", _model),
    "seed": Entry("seed", whole),
    "steps": Entry("num_inference_steps", whole),
    "cfg_scale": Entry("guidance_scale", number),
    "width": Entry("width", whole),
    "height": Entry("height", whole),
    "scheduler": Entry("sampler", text_of),
    "clip_skip": Entry("clip_skip", _clip_skip),
    "strength": Entry("strength", number),
}
_HARMLESS = frozenset(
    {"positive_prompt", "negative_prompt", "loras", "app_version", "rand_device", "canvas_v2_metadata"}
)


def read_invoke(data: Mapping[str, Any]) -> Infotext:
    taken = take(_TOOL, data, _TABLE, _HARMLESS)
    if "sampler" in taken.values:
        taken.values |= invoke_sampler(taken.values["sampler"])
    if isinstance(model := data.get("model"), dict):
        taken.model_hash = comparable(model.get("hash", model.get("model_hash")))
    if data.get("rand_device") not in (None, "cpu"):
        taken.warnings.append("its noise was drawn on a GPU and is drawn on the CPU here")
    prompt, negative = (prompt_of(data, key, _WHAT) for key in ("positive_prompt", "negative_prompt"))
    if _COMPEL.search(prompt) or _COMPEL.search(negative):
        taken.warnings.append("its prompt is weighted in InvokeAI's way, which stands here as it is written")
    for name, weight in _loras(data.get("loras") or []):
        prompt = with_lora(prompt, name, weight)
    return taken.infotext(prompt, negative)


def _loras(loras: Any) -> Iterator[tuple[str, float]]:
    try:
        for lora in loras:
            name = _model(lora.get("model", lora.get("lora")))
            yield name or "", number(lora.get("weight", 1))
    except (AttributeError, TypeError, ValueError):
        raise NotRead(f"holds {_WHAT} whose loras cannot be read: {shown(loras)}") from None
