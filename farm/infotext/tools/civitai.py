"""Civitai's generator: ComfyUI's nodes as JSON in an EXIF comment, and beside them, as a text, what was asked."""

from collections.abc import Mapping
from typing import Any

from farm.infotext.reading import Infotext, NotRead
from farm.infotext.tools.jsontext import Entry, number, prompt_of, read_object, take, text_of, whole
from farm.infotext.tools.sampling import sampler_of

MARK = "extraMetadata"
_TOOL = "Civitai"
_WHAT = "a text of Civitai"


def _mode(value: Any) -> str | None:
    return "img2img" if text_of(value).startswith("img2img") else None


_TABLE: Mapping[str, Entry] = {
    "seed": Entry("seed", whole),
    "steps": Entry("num_inference_steps", whole),
    "cfgScale": Entry("guidance_scale", number),
    "sampler": Entry("sampler", sampler_of),
    "clipSkip": Entry("clip_skip", whole),
    "width": Entry("width", whole),
    "height": Entry("height", whole),
    "denoise": Entry("strength", number),
    "workflowId": Entry("mode", _mode),
}
_HARMLESS = frozenset({"prompt", "negativePrompt", "baseModel", "remixOfId", "nsfw", "draft", "extra", "quantity"})


def read_civitai(data: Mapping[str, Any]) -> Infotext:
    said = data[MARK]
    if not isinstance(said, str):
        raise NotRead(f"holds {_WHAT} whose {MARK} is no text")
    asked = read_object(said, f"{_WHAT}, its {MARK},")
    taken = take(_TOOL, asked, _TABLE, _HARMLESS)
    taken.warnings.append("it names its checkpoint and LoRAs by Civitai's numbers alone: name them")
    return taken.infotext(prompt_of(asked, "prompt", _WHAT), prompt_of(asked, "negativePrompt", _WHAT))
