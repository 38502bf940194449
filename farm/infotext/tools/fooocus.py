"""Fooocus: JSON in the PNG chunk `parameters` or an EXIF comment, by its scheme `fooocus`; and its scheme `a1111`.

The JSON of releases before 2.2 has the labels of its form for keys. What was rendered is in `full_prompt`, with the
styles and the expansion in it.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from farm.infotext.grammar import Parsed
from farm.infotext.reading import Infotext, NotRead, WeightsHash, comparable, shown
from farm.infotext.tools.comfyprompt import in_webui_words
from farm.infotext.tools.jsontext import (
    Entry,
    Taken,
    name_of,
    number,
    prompt_of,
    size_in,
    take,
    text_of,
    whole,
    with_lora,
)
from farm.infotext.tools.sampling import comfy_sampler, sampler_of, schedule_of

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


def _vae(value: Any) -> str | None:
    return None if value == _OWN_VAE else name_of(value)


_TABLE: Mapping[str, Entry] = {
    "base_model": Entry("checkpoint", name_of),
    "vae": Entry("vae", _vae),
    "seed": Entry("seed", whole),
    "steps": Entry("num_inference_steps", whole),
    "guidance_scale": Entry("guidance_scale", number),
    "resolution": Entry("size", size_in(_SIZE)),
    "sampler": Entry("sampler", comfy_sampler),
    "scheduler": Entry("schedule_type", schedule_of),
}
_HARMLESS = frozenset(
    {
        *("prompt", "negative_prompt", "full_prompt", "full_negative_prompt", "loras", "base_model_hash"),
        *("version", "metadata_scheme", "created_by", "performance", "refiner_switch"),
    }
)
_LORA = re.compile(r"(?:lora_combined_|LoRA )\d+")


def read_fooocus(data: Mapping[str, Any]) -> Infotext:
    said = {_OLDER.get(key, key): value for key, value in data.items()}
    combined = {key: said.pop(key) for key in list(said) if _LORA.fullmatch(key)}
    harmless = _HARMLESS | ({"styles"} if "full_prompt" in said else frozenset())
    # SDXL's usual layer.
    harmless |= {"clip_skip"} if said.get("clip_skip") == 2 else frozenset()
    taken = take(_TOOL, said, _TABLE, harmless)
    taken.model_hash = comparable(said.get("base_model_hash"))
    prompt, negative = (in_webui_words(_prompt(said, key), taken) for key in ("prompt", "negative_prompt"))
    for name, weight in _loras(said.get("loras") or [], combined, taken):
        prompt = with_lora(prompt, name, weight)
    return taken.infotext(prompt, negative)


def _prompt(said: Mapping[str, Any], key: str) -> str:
    full = said.get(f"full_{key}")
    if isinstance(full, list) and full and all(isinstance(part, str) for part in full):
        return ", ".join(part for part in full if part)
    return prompt_of(said, key, _WHAT)


def _loras(listed: Any, combined: Mapping[str, Any], taken: Taken) -> Iterator[tuple[str, float]]:
    """From the list with hashes, or else from `name : weight`, which some write as `enabled : name : weight`."""
    try:
        for name, weight, *rest in listed:
            if rest and (digits := comparable(rest[0])):
                taken.hashes.append(WeightsHash("lora", text_of(name), digits))
            yield text_of(name), number(weight)
        for text in () if listed else combined.values():
            *before, name, weight = text_of(text).split(" : ")
            if before != ["False"] and (stem := name_of(name)):
                yield stem, number(weight)
    except (TypeError, ValueError):
        raise NotRead(
            f"holds {_WHAT} whose LoRAs cannot be read: {shown(listed or list(combined.values()))}"
        ) from None


def in_webui_keys(parsed: Parsed) -> Parsed:
    """Its scheme `a1111` in the WebUI's keys; and the names that k-diffusion has for samplers, in any text."""
    items = dict(parsed.items)
    prompt = parsed.prompt
    if "Sampler" in items:
        items["Sampler"] = sampler_of(items["Sampler"])
    if "Scheduler" in items:
        items.setdefault("Schedule type", schedule_of(items.pop("Scheduler")))
    if items.get("Version", "").startswith(_TOOL):
        items["Sampler"] = items.get("Sampler", "").removesuffix(" Karras")
        for key in ("Raw prompt", "Raw negative prompt", "Performance"):
            items.pop(key, None)
        if items.get("VAE") == _OWN_VAE:
            del items["VAE"]
        for name, weight in _weights(items.pop("Lora weights", "")):
            prompt = with_lora(prompt, name, weight)
    return replace(parsed, prompt=prompt, items=items)


def _weights(text: str) -> Iterator[tuple[str, float]]:
    for item in filter(None, text.split(", ")):
        name, _, weight = item.rpartition(": ")
        try:
            yield name, number(weight)
        except ValueError:
            raise NotRead(f"holds {_WHAT} whose Lora weights cannot be read: {shown(text)}") from None
