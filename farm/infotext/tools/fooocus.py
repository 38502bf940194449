"""Fooocus: JSON in the PNG chunk `parameters` or an EXIF comment, by its scheme `fooocus`; and its scheme `a1111`.

The JSON of releases before 2.2 has the labels of its form for keys. What was rendered is in `full_prompt`, with the
styles and the expansion in it.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from farm.infotext.grammar import ParsedText
from farm.infotext.result import Infotext, NotRead, WeightsHash, parse_digest, shorten
from farm.infotext.tools.comfyprompt import translate_prompt
from farm.infotext.tools.jsontext import (
    KeyRule,
    ToolValues,
    append_lora_tag,
    collect_values,
    read_number,
    read_prompt,
    read_size_in,
    read_string,
    read_weights_name,
    read_whole,
)
from farm.infotext.tools.sampling import translate_comfy_sampler, translate_sampler, translate_schedule

MARKS = ("base_model", "Base Model")
_TOOL = "Fooocus"
_WHAT = "a text of Fooocus"
_OWN_VAE = "Default (model)"
_SIZE = re.compile(r"\((\d{1,6}), (\d{1,6})\)")
_OLDER = {
    "Prompt": "prompt",
    "Negative Prompt": "negative_prompt",
    "Base Model": "base_model",
    "Seed": "seed",
    "Resolution": "resolution",
    "Guidance Scale": "guidance_scale",
    "Sampler": "sampler",
    "Steps": "steps",
    "Scheduler": "scheduler",
    "VAE": "vae",
    "Styles": "styles",
    "Performance": "performance",
    "Version": "version",
    "Refiner Model": "refiner_model",
    "Refiner Switch": "refiner_switch",
}


def _read_vae(value: Any) -> str | None:
    return None if value == _OWN_VAE else read_weights_name(value)


_TABLE: Mapping[str, KeyRule] = {
    "base_model": KeyRule("checkpoint", read_weights_name),
    "vae": KeyRule("vae", _read_vae),
    "seed": KeyRule("seed", read_whole),
    "steps": KeyRule("num_inference_steps", read_whole),
    "guidance_scale": KeyRule("guidance_scale", read_number),
    "resolution": KeyRule("size", read_size_in(_SIZE)),
    "sampler": KeyRule("sampler", translate_comfy_sampler),
    "scheduler": KeyRule("schedule_type", translate_schedule),
}
_HARMLESS = frozenset(
    {
        *("prompt", "negative_prompt", "full_prompt", "full_negative_prompt", "loras", "base_model_hash"),
        *("version", "metadata_scheme", "created_by", "performance", "refiner_switch"),
    }
)
_LORA = re.compile(r"(?:lora_combined_|LoRA )\d+")


def read_fooocus(data: Mapping[str, Any]) -> Infotext:
    params = {_OLDER.get(key, key): value for key, value in data.items()}
    combined = {key: params.pop(key) for key in list(params) if _LORA.fullmatch(key)}
    harmless = _HARMLESS | ({"styles"} if "full_prompt" in params else frozenset())
    # The usual layer for SDXL.
    harmless |= {"clip_skip"} if params.get("clip_skip") == 2 else frozenset()
    collected = collect_values(_TOOL, params, _TABLE, harmless)
    collected.model_hash = parse_digest(params.get("base_model_hash"))
    prompt, negative = (
        translate_prompt(_read_prompt(params, key), collected) for key in ("prompt", "negative_prompt")
    )
    for name, weight in _read_loras(params.get("loras") or [], combined, collected):
        prompt = append_lora_tag(prompt, name, weight)
    return collected.infotext(prompt, negative)


def _read_prompt(params: Mapping[str, Any], key: str) -> str:
    full = params.get(f"full_{key}")
    if isinstance(full, list) and full and all(isinstance(part, str) for part in full):
        return ", ".join(part for part in full if part)
    return read_prompt(params, key, _WHAT)


def _read_loras(listed: Any, combined: Mapping[str, Any], collected: ToolValues) -> Iterator[tuple[str, float]]:
    """From the list with hashes, or else from `name : weight`, which some write as `enabled : name : weight`."""
    try:
        for name, weight, *rest in listed:
            if rest and (digits := parse_digest(rest[0])):
                collected.hashes.append(WeightsHash("lora", read_string(name), digits))
            yield read_string(name), read_number(weight)
        for text in () if listed else combined.values():
            *before, name, weight = read_string(text).split(" : ")
            if before != ["False"] and (stem := read_weights_name(name)):
                yield stem, read_number(weight)
    except (TypeError, ValueError):
        raise NotRead(
            f"holds {_WHAT} whose LoRAs cannot be read: {shorten(listed or list(combined.values()))}"
        ) from None


def translate_keys(parsed: ParsedText) -> ParsedText:
    """Its scheme `a1111` in the WebUI's keys; and the names that k-diffusion has for samplers, in any text."""
    items = dict(parsed.items)
    prompt = parsed.prompt
    if "Sampler" in items:
        items["Sampler"] = translate_sampler(items["Sampler"])
    if "Scheduler" in items:
        items.setdefault("Schedule type", translate_schedule(items.pop("Scheduler")))
    if items.get("Version", "").startswith(_TOOL):
        items["Sampler"] = items.get("Sampler", "").removesuffix(" Karras")
        for key in ("Raw prompt", "Raw negative prompt", "Performance"):
            items.pop(key, None)
        if items.get("VAE") == _OWN_VAE:
            del items["VAE"]
        for name, weight in _read_weights(items.pop("Lora weights", "")):
            prompt = append_lora_tag(prompt, name, weight)
    return replace(parsed, prompt=prompt, items=items)


def _read_weights(text: str) -> Iterator[tuple[str, float]]:
    for item in filter(None, text.split(", ")):
        name, _, weight = item.rpartition(": ")
        try:
            yield name, read_number(weight)
        except ValueError:
            raise NotRead(f"holds {_WHAT} whose Lora weights cannot be read: {shorten(text)}") from None
