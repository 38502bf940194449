"""SwarmUI, once StableSwarmUI: JSON with `sui_image_params`, in the PNG chunk `parameters` or an EXIF comment.

Format: SwarmUI's docs, "Image Metadata Format". Values may be texts; lists may be texts with commas.
"""

import re
from collections.abc import Mapping
from typing import Any

from farm.infotext.result import AddonKind, Infotext, NotRead, WeightsHash, parse_digest, shorten
from farm.infotext.tools.comfyprompt import translate_prompt
from farm.infotext.tools.jsontext import (
    KeyRule,
    ToolValues,
    append_lora_tag,
    collect_values,
    read_number,
    read_prompt,
    read_weights_name,
    read_whole,
)
from farm.infotext.tools.sampling import translate_comfy_sampler, translate_schedule

MARK = "sui_image_params"
_TOOL = "SwarmUI"
_WHAT = "a text of SwarmUI"


def _read_clip_skip(value: Any) -> int:
    """The layer to stop at, counted from the end: -1 is the last."""
    return -read_whole(value)


_TABLE: Mapping[str, KeyRule] = {
    "model": KeyRule("checkpoint", read_weights_name),
    "vae": KeyRule("vae", read_weights_name),
    "seed": KeyRule("seed", read_whole),
    "steps": KeyRule("num_inference_steps", read_whole),
    "cfgscale": KeyRule("guidance_scale", read_number),
    "width": KeyRule("width", read_whole),
    "height": KeyRule("height", read_whole),
    "autowebuisampler": KeyRule("sampler", str),
    "comfyuisampler": KeyRule("sampler", translate_comfy_sampler),
    "sampler": KeyRule("sampler", translate_comfy_sampler),
    "comfyuischeduler": KeyRule("schedule_type", translate_schedule),
    "scheduler": KeyRule("schedule_type", translate_schedule),
    "clipstopatlayer": KeyRule("clip_skip", _read_clip_skip),
    "initimagecreativity": KeyRule("strength", read_number),
}
_HARMLESS = frozenset(
    {
        *("prompt", "negativeprompt", "loras", "loraweights", "lorasectionconfinement", "initimage", "maskimage"),
        *("swarm_version", "aspectratio", "sidelength", "automaticvae", "images", "batchsize", "cleanupprompts"),
        *("autobreak", "segmentmaskblur", "segmentmaskgrow", "segmentmaskoversize", "segmentsteps", "personalnote"),
    }
)
_KINDS: Mapping[str, AddonKind] = {"vae": "vae", "loras": "lora", "used_embeddings": "embedding"}
# Commands that it leaves in the prompt: `<segment:face>`, `<object:...>`.
_COMMAND = re.compile(r"<(?!lora[:\[])(\w+)(?:\[[^\]<>]*\])?:")


def read_swarm(data: Mapping[str, Any]) -> Infotext:
    params = data[MARK]
    if not isinstance(params, dict):
        raise NotRead(f"holds {_WHAT} whose {MARK} is not an object")
    collected = collect_values(_TOOL, params, _TABLE, _HARMLESS)
    prompts = [read_prompt(params, key, _WHAT) for key in ("prompt", "negativeprompt")]
    for prompt in prompts:
        if command := _COMMAND.search(prompt):
            raise NotRead(f"holds {_WHAT} whose prompt has a command that only SwarmUI supports: <{command[1]}:")
    prompt, negative = (translate_prompt(prompt, collected) for prompt in prompts)
    for name, weight in _read_loras(params):
        if f"<lora:{name}" not in prompt:
            prompt = append_lora_tag(prompt, name, weight)
    if "initimage" in params or "initimagecreativity" in params:
        collected.values["mode"] = "inpaint" if "maskimage" in params else "img2img"
    _take_hashes(data.get("sui_models"), collected)
    return collected.infotext(prompt, negative)


def _read_loras(params: Mapping[str, Any]) -> list[tuple[str, float]]:
    names, weights = (_split_list(params.get(key)) for key in ("loras", "loraweights"))
    if weights and len(weights) != len(names):
        raise NotRead(f"holds {_WHAT} with {len(names)} LoRAs and {len(weights)} weights for them")
    try:
        found = [read_weights_name(name) or "" for name in names]
        return list(zip(found, map(read_number, weights or [1] * len(names)), strict=True))
    except ValueError:
        raise NotRead(f"holds {_WHAT} whose loras or loraweights cannot be read: {shorten(weights)}") from None


def _split_list(value: Any) -> list[Any]:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value if isinstance(value, list) else []


def _take_hashes(models: Any, collected: ToolValues) -> None:
    """SwarmUI hashes the tensors alone, as the WebUI does for LoRAs."""
    for model in models if isinstance(models, list) else []:
        param, name, digits = (str(model.get(key, "")) for key in ("param", "name", "hash")) if model else ("",) * 3
        if param == "model" and digits:
            collected.warnings.append("its hash of the checkpoint covers the tensors alone, and is not compared")
        elif param in _KINDS and (found := parse_digest(digits)) and (stem := read_weights_name(name)):
            collected.hashes.append(WeightsHash(_KINDS[param], stem, found))
