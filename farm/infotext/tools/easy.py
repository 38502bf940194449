"""Easy Diffusion: JSON in an EXIF comment, a PNG chunk for each key, or a file with a line for each.

The keys are its labels, or its own names for them.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from farm.infotext.reading import Infotext, NotRead, shown
from farm.infotext.tools.jsontext import Entry, name_of, number, prompt_of, take, whole, with_lora
from farm.infotext.tools.sampling import sampler_of

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
    """Whether it is a file of text that it writes beside an image: a value on each line, behind its label."""
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
            raise NotRead(f"holds {_WHAT} with a line that is not known: {shown(line)}")
        else:
            found[last] += f"\n{line.strip()}"
    return read_easy(found)


def _clip_skip(value: Any) -> int | None:
    """A switch: on, it leaves the last layer out."""
    return 2 if str(value) == "True" else None


_TABLE: Mapping[str, Entry] = {
    "use_stable_diffusion_model": Entry("checkpoint", name_of),
    "use_vae_model": Entry("vae", name_of),
    "seed": Entry("seed", whole),
    "num_inference_steps": Entry("num_inference_steps", whole),
    "guidance_scale": Entry("guidance_scale", number),
    "width": Entry("width", whole),
    "height": Entry("height", whole),
    "sampler_name": Entry("sampler", sampler_of),
    "clip_skip": Entry("clip_skip", _clip_skip),
    "prompt_strength": Entry("strength", number),
}
_HARMLESS = frozenset({"prompt", "negative_prompt", "use_lora_model", "lora_alpha"})


def is_easy(keys: Mapping[str, Any]) -> bool:
    return any(mark in keys for mark in MARKS)


def read_easy(data: Mapping[str, Any]) -> Infotext:
    said = {_LABELS.get(key, key): value for key, value in data.items() if value != "None"}
    taken = take(_TOOL, said, _TABLE, _HARMLESS)
    prompt, negative = (prompt_of(said, key, _WHAT) for key in ("prompt", "negative_prompt"))
    for name, weight in _loras(said):
        prompt = with_lora(prompt, name, weight)
    return taken.infotext(prompt, negative)


def _loras(said: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """One, or a list of them, each with its strength."""
    names, weights = (_as_list(said.get(key)) for key in ("use_lora_model", "lora_alpha"))
    try:
        for name, weight in zip(names, weights or [1] * len(names), strict=True):
            if stem := name_of(name):
                yield stem, number(weight)
    except ValueError:
        raise NotRead(f"holds {_WHAT} whose LoRAs cannot be read: {shown(names)}, {shown(weights)}") from None


def _as_list(value: Any) -> list[Any]:
    """A PNG chunk holds a list as Python prints it."""
    if isinstance(value, str) and value.startswith("[") and value.endswith("]"):
        return [part.strip().strip("'\"") for part in value[1:-1].split(",") if part.strip()]
    return value if isinstance(value, list) else [value] if value not in (None, "") else []
