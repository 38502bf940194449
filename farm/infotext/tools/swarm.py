"""SwarmUI, once StableSwarmUI: JSON with `sui_image_params`, in the PNG chunk `parameters` or an EXIF comment.

Format: SwarmUI's docs, "Image Metadata Format". Values may be texts; lists may be texts with commas.
"""

import re
from collections.abc import Mapping
from typing import Any

from farm.infotext.reading import AddonKind, Infotext, NotRead, WeightsHash, comparable, shown
from farm.infotext.tools.comfyprompt import in_webui_words
from farm.infotext.tools.jsontext import Entry, Taken, name_of, number, prompt_of, take, whole, with_lora
from farm.infotext.tools.sampling import comfy_sampler, schedule_of

MARK = "sui_image_params"
_TOOL = "SwarmUI"
_WHAT = "a text of SwarmUI"


def _clip_skip(value: Any) -> int:
    """The layer to stop at, counted from the end: -1 is the last."""
    return -whole(value)


_TABLE: Mapping[str, Entry] = {
    "model": Entry("checkpoint", name_of),
    "vae": Entry("vae", name_of),
    "seed": Entry("seed", whole),
    "steps": Entry("num_inference_steps", whole),
    "cfgscale": Entry("guidance_scale", number),
    "width": Entry("width", whole),
    "height": Entry("height", whole),
    "autowebuisampler": Entry("sampler", str),
    "comfyuisampler": Entry("sampler", comfy_sampler),
    "sampler": Entry("sampler", comfy_sampler),
    "comfyuischeduler": Entry("schedule_type", schedule_of),
    "scheduler": Entry("schedule_type", schedule_of),
    "clipstopatlayer": Entry("clip_skip", _clip_skip),
    "initimagecreativity": Entry("strength", number),
}
_HARMLESS = frozenset(
    {
        *("prompt", "negativeprompt", "loras", "loraweights", "lorasectionconfinement", "initimage", "maskimage"),
        *("swarm_version", "aspectratio", "sidelength", "automaticvae", "images", "batchsize", "cleanupprompts"),
        *("autobreak", "segmentmaskblur", "segmentmaskgrow", "segmentmaskoversize", "segmentsteps", "personalnote"),
    }
)
_KINDS: Mapping[str, AddonKind] = {"vae": "vae", "loras": "lora", "used_embeddings": "embedding"}
# What it does not replace by what it stands for: `<segment:face>`, `<object:...>`.
_COMMAND = re.compile(r"<(?!lora[:\[])(\w+)(?:\[[^\]<>]*\])?:")


def read_swarm(data: Mapping[str, Any]) -> Infotext:
    said = data[MARK]
    if not isinstance(said, dict):
        raise NotRead(f"holds {_WHAT} whose {MARK} is no object")
    taken = take(_TOOL, said, _TABLE, _HARMLESS)
    prompts = [prompt_of(said, key, _WHAT) for key in ("prompt", "negativeprompt")]
    for prompt in prompts:
        if command := _COMMAND.search(prompt):
            raise NotRead(f"holds {_WHAT} whose prompt has a command that only SwarmUI knows: <{command[1]}:")
    prompt, negative = (in_webui_words(prompt, taken) for prompt in prompts)
    for name, weight in _loras(said):
        if f"<lora:{name}" not in prompt:
            prompt = with_lora(prompt, name, weight)
    if "initimage" in said or "initimagecreativity" in said:
        taken.values["mode"] = "inpaint" if "maskimage" in said else "img2img"
    _take_hashes(data.get("sui_models"), taken)
    return taken.infotext(prompt, negative)


def _loras(said: Mapping[str, Any]) -> list[tuple[str, float]]:
    names, weights = (_as_list(said.get(key)) for key in ("loras", "loraweights"))
    if weights and len(weights) != len(names):
        raise NotRead(f"holds {_WHAT} with {len(names)} LoRAs and {len(weights)} weights for them")
    try:
        found = [name_of(name) or "" for name in names]
        return list(zip(found, map(number, weights or [1] * len(names)), strict=True))
    except ValueError:
        raise NotRead(f"holds {_WHAT} whose loras or loraweights cannot be read: {shown(weights)}") from None


def _as_list(value: Any) -> list[Any]:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value if isinstance(value, list) else []


def _take_hashes(models: Any, taken: Taken) -> None:
    """Its hashes are of the tensors alone, as those of LoRAs in the WebUI's texts."""
    for model in models if isinstance(models, list) else []:
        param, name, digits = (str(model.get(key, "")) for key in ("param", "name", "hash")) if model else ("",) * 3
        if param == "model" and digits:
            taken.warnings.append("its hash of the checkpoint is one of the tensors alone, and is not compared")
        elif param in _KINDS and (found := comparable(digits)) and (stem := name_of(name)):
            taken.hashes.append(WeightsHash(_KINDS[param], stem, found))
