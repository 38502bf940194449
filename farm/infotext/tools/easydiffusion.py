"""Easy Diffusion: JSON in an EXIF comment, a PNG chunk for each key, or a file with a line for each.

The keys are its labels, or its own names for them.
"""

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
    read_weights_name,
    read_whole,
)
from farm.infotext.tools.sampling import translate_sampler

MARKS = ("use_stable_diffusion_model", "Stable Diffusion model")
_TOOL = "Easy Diffusion"
_WHAT = "a text of Easy Diffusion"
_LABELS = {
    "Prompt": "prompt",
    "Negative Prompt": "negative_prompt",
    "Seed": "seed",
    "Stable Diffusion model": "use_stable_diffusion_model",
    "Clip Skip": "clip_skip",
    "VAE model": "use_vae_model",
    "Sampler": "sampler_name",
    "Width": "width",
    "Height": "height",
    "Steps": "num_inference_steps",
    "Guidance Scale": "guidance_scale",
    "Prompt Strength": "prompt_strength",
    "LoRA model": "use_lora_model",
    "LoRA Strength": "lora_alpha",
}


_PROMPTS = ("Prompt", "Negative Prompt")
_OTHER_LABELS = (
    *("Use Face Correction", "Use Upscaling", "Upscale By", "Latent Upscaler Steps", "Seamless Tiling"),
    *("ControlNet model", "ControlNet Filter", "Hypernetwork model", "Hypernetwork Strength", "Embedding models"),
)


_LABEL = re.compile(r"(\w[\w ]{0,40}): ")
_FEWEST_LABELS = 3


def is_labelled(text: str) -> bool:
    """Whether it is a text file that Easy Diffusion writes next to an image: a label and a value on each line."""
    labels = {match[1] for match in map(_LABEL.match, text.split("\n")) if match}
    return len(labels & _LABELS.keys()) >= _FEWEST_LABELS


def read_labelled(text: str) -> Infotext:
    """A prompt may have several lines, but none that begins with a label that is not known."""
    found: dict[str, str] = {}
    last = ""
    for line in text.strip().split("\n"):
        match = _LABEL.match(line)
        label = match[1] if match else ""
        if label in _LABELS or label in _OTHER_LABELS:
            last, found[label] = label, line.partition(": ")[2].strip()
        elif label or last not in _PROMPTS:
            raise NotRead(f"holds {_WHAT} with a line that is not known: {shorten(line)}")
        else:
            found[last] += f"\n{line.strip()}"
    return read_easy(found)


def _read_clip_skip(value: Any) -> int | None:
    """A switch: where it is on, the last layer is left out."""
    return 2 if str(value) == "True" else None


_TABLE: Mapping[str, KeyRule] = {
    "use_stable_diffusion_model": KeyRule("checkpoint", read_weights_name),
    "use_vae_model": KeyRule("vae", read_weights_name),
    "seed": KeyRule("seed", read_whole),
    "num_inference_steps": KeyRule("num_inference_steps", read_whole),
    "guidance_scale": KeyRule("guidance_scale", read_number),
    "width": KeyRule("width", read_whole),
    "height": KeyRule("height", read_whole),
    "sampler_name": KeyRule("sampler", translate_sampler),
    "clip_skip": KeyRule("clip_skip", _read_clip_skip),
    "prompt_strength": KeyRule("strength", read_number),
}
_HARMLESS = frozenset({"prompt", "negative_prompt", "use_lora_model", "lora_alpha"})


def is_easy(keys: Mapping[str, Any]) -> bool:
    return any(mark in keys for mark in MARKS)


def read_easy(data: Mapping[str, Any]) -> Infotext:
    params = {_LABELS.get(key, key): value for key, value in data.items() if value != "None"}
    collected = collect_values(_TOOL, params, _TABLE, _HARMLESS)
    prompt, negative = (read_prompt(params, key, _WHAT) for key in ("prompt", "negative_prompt"))
    for name, weight in _read_loras(params):
        prompt = append_lora_tag(prompt, name, weight)
    return collected.infotext(prompt, negative)


def _read_loras(params: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """One, or a list of them, each with its strength."""
    names, weights = (_split_list(params.get(key)) for key in ("use_lora_model", "lora_alpha"))
    try:
        for name, weight in zip(names, weights or [1] * len(names), strict=True):
            if stem := read_weights_name(name):
                yield stem, read_number(weight)
    except ValueError:
        raise NotRead(f"holds {_WHAT} whose LoRAs cannot be read: {shorten(names)}, {shorten(weights)}") from None


def _split_list(value: Any) -> list[Any]:
    """A PNG chunk holds a list as Python prints it."""
    if isinstance(value, str) and value.startswith("[") and value.endswith("]"):
        return [part.strip().strip("'\"") for part in value[1:-1].split(",") if part.strip()]
    return value if isinstance(value, list) else [value] if value not in (None, "") else []
