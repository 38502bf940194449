"""What each setting of an image is called: by requests, by people, in parameters texts, and by other programs."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Naming:
    """The names of one setting.

    `field` is that of requests and specs, with `hires.` before those of the second pass; `title` is for people, in
    the WebUI's words where it has the setting. `short` is for who types: an option, an axis, a column of a prompt
    file; left out, it is the field. `aliases` are what other programs call it. `key` is its name in a parameters
    text; left out, it is the title.
    """

    field: str
    title: str
    short: str = ""
    aliases: tuple[str, ...] = ()
    key: str = ""


_TABLE = (
    Naming("mode", "Mode"),
    Naming("prompt", "Prompt", key="Exact prompt"),
    Naming("prompt_replace", "Prompt search and replace", "replace", ("prompt_sr",)),
    Naming("negative_prompt", "Negative prompt", "negative", key="Exact negative prompt"),
    Naming("styles", "Styles", "style"),
    Naming("checkpoint", "Checkpoint", aliases=("model", "sd_model"), key="Model"),
    Naming("vae", "VAE"),
    Naming("loras", "LoRAs"),
    Naming("embeddings", "Embeddings"),
    Naming("sampler", "Sampler", aliases=("sampler_name",)),
    Naming("schedule_type", "Schedule type", "schedule", ("scheduler",)),
    Naming("num_inference_steps", "Steps", "steps"),
    Naming("guidance_scale", "CFG scale", "guidance", ("cfg", "cfg_scale")),
    Naming("clip_skip", "Clip skip"),
    Naming("seed", "Seed"),
    Naming("images_per_prompt", "Images per prompt", "count"),
    Naming("size", "Size"),
    Naming("width", "Width"),
    Naming("height", "Height"),
    Naming("hires", "Hires fix"),
    Naming("hires.scale", "Hires upscale"),
    Naming("hires.size", "Hires resize"),
    Naming("hires.num_inference_steps", "Hires steps", "hires_steps"),
    Naming("hires.strength", "Hires denoising strength", "hires_strength", key="Hires strength"),
    Naming("hires.upscaler", "Hires upscaler", "hires_upscaler"),
    Naming("image", "Picture", key="Init image hash"),
    Naming("input_size", "Input size"),
    Naming("mask", "Mask", key="Mask hash"),
    Naming("strength", "Denoising strength", aliases=("denoising", "denoising_strength")),
    Naming("resize_mode", "Where the size differs", "resize", key="Resize mode"),
    Naming("masked_content", "Masked content"),
    Naming("area", "Rendered area", key="Inpaint area"),
    Naming("padding", "Padding", key="Masked area padding"),
    Naming("mask_blur", "Mask blur"),
    Naming("invert_mask", "Mask inverted", key="Mask mode"),
    Naming("left", "Left", key="Outpaint left"),
    Naming("right", "Right", key="Outpaint right"),
    Naming("top", "Top", key="Outpaint top"),
    Naming("bottom", "Bottom", key="Outpaint bottom"),
    Naming("aspect", "Aspect"),
    Naming("scale", "Scale"),
    Naming("upscaler", "Upscaler"),
    Naming("tile", "Tile"),
    Naming("overlap", "Overlap", key="Tile overlap"),
    Naming("deterministic", "Rendered alone", key="Deterministic"),
    Naming("image_format", "Format", "format"),
    Naming("quality", "Quality"),
)

TITLES: Mapping[str, str] = {naming.field: naming.title for naming in _TABLE}
"""What people read, by field."""

INFOTEXT_KEYS: Mapping[str, str] = {naming.field: naming.key or naming.title for naming in _TABLE}
"""What parameters texts say, by field."""

SHORT_NAMES: Mapping[str, str] = {naming.field: naming.short or naming.field for naming in _TABLE}
"""What people type, by field."""

OTHER_NAMES: Mapping[str, str] = {
    name: naming.field for naming in _TABLE for name in (naming.short, *naming.aliases) if name
}
"""The field that each other name means."""


def in_sentence(field: str) -> str:
    """The title within a sentence: `CFG scale` keeps its capitals, `Sampler` is the sampler."""
    title = TITLES[field]
    return title if title[:2].isupper() else title[0].lower() + title[1:]
