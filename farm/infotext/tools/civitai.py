"""Civitai's generator: ComfyUI's nodes as JSON in an EXIF comment, with the request as a text beside them."""

from collections.abc import Mapping
from typing import Any

from farm.infotext.result import Infotext, NotRead
from farm.infotext.tools.jsontext import (
    KeyRule,
    collect_values,
    read_number,
    read_object,
    read_prompt,
    read_string,
    read_whole,
)
from farm.infotext.tools.sampling import translate_sampler

MARK = "extraMetadata"
_TOOL = "Civitai"
_WHAT = "a text of Civitai"


def _read_mode(value: Any) -> str | None:
    return "img2img" if read_string(value).startswith("img2img") else None


_TABLE: Mapping[str, KeyRule] = {
    "seed": KeyRule("seed", read_whole),
    "steps": KeyRule("num_inference_steps", read_whole),
    "cfgScale": KeyRule("guidance_scale", read_number),
    "sampler": KeyRule("sampler", translate_sampler),
    "clipSkip": KeyRule("clip_skip", read_whole),
    "width": KeyRule("width", read_whole),
    "height": KeyRule("height", read_whole),
    "denoise": KeyRule("strength", read_number),
    "workflowId": KeyRule("mode", _read_mode),
}
_HARMLESS = frozenset({"prompt", "negativePrompt", "baseModel", "remixOfId", "nsfw", "draft", "extra", "quantity"})


def read_civitai(data: Mapping[str, Any]) -> Infotext:
    params = data[MARK]
    if not isinstance(params, str):
        raise NotRead(f"holds {_WHAT} whose {MARK} is not a text")
    request = read_object(params, f"{_WHAT}, its {MARK},")
    collected = collect_values(_TOOL, request, _TABLE, _HARMLESS)
    collected.warnings.append("it names its checkpoint and LoRAs only by Civitai's numbers: name them")
    return collected.infotext(read_prompt(request, "prompt", _WHAT), read_prompt(request, "negativePrompt", _WHAT))
