"""The keys of a parameters text, in the WebUI's order, and the fields of specs that they stand for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from farm.infotext.grammar import quote_value, quote_without_separators
from farm.specs import FROZEN, AddonRef, LoraRef


class Addons(BaseModel):
    """What was added to the checkpoint, by name and full hash. It is true where anything was."""

    model_config = FROZEN

    vae: AddonRef | None = None
    loras: tuple[LoraRef, ...] = ()
    embeddings: tuple[AddonRef, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.vae or self.loras or self.embeddings)


@dataclass(frozen=True)
class Kind:
    """How a value is written and read. `read` raises ValueError; `quote` keeps the items apart."""

    write: Callable[[Any], str] = str
    read: Callable[[str], Any] = str
    quote: Callable[[str], str] = quote_value


@dataclass(frozen=True)
class Key:
    """A key, and its field: `hires.` stands before those of the second pass, `size` is width and height."""

    name: str
    field: str
    kind: Kind


def _number(value: float) -> str:
    """In full, so that it is read back as it was."""
    return repr(float(value)).removesuffix(".0")


def _size(text: str) -> tuple[int, int]:
    width, height = map(int, text.split("x"))
    return width, height


def _flag(text: str) -> bool:
    if text not in ("True", "False"):
        raise ValueError("neither True nor False")
    return text == "True"


def _words(words: Mapping[Any, str]) -> Kind:
    """What is none of these words is read as it is: whoever checks the field says what it takes."""
    fields = {text: field for field, text in words.items()}
    return Kind(lambda field: words[field], lambda text: fields.get(text, text))


_TEXT = Kind()
_WHOLE = Kind(str, int)
_NUMBER = Kind(_number, float)
_SIZE = Kind(lambda size: f"{size[0]}x{size[1]}", _size)
_FLAG = Kind(str, _flag)
_SEALED = Kind(quote=quote_without_separators)
_ADDONS = Kind(
    lambda addons: addons.model_dump_json(exclude_none=True), Addons.model_validate_json, quote_without_separators
)

WEBUI_KEYS = (
    Key("Steps", "num_inference_steps", _WHOLE),
    Key("Sampler", "sampler", _TEXT),
    Key("Schedule type", "schedule_type", _TEXT),
    Key("CFG scale", "guidance_scale", _NUMBER),
    Key("Seed", "seed", _WHOLE),
    Key("Size", "size", _SIZE),
    Key("Model hash", "model_hash", _TEXT),
    Key("Model", "checkpoint", _TEXT),
    Key("VAE hash", "vae_hash", _TEXT),
    Key("VAE", "vae", _TEXT),
    Key("Denoising strength", "strength", _NUMBER),
    Key("Clip skip", "clip_skip", _WHOLE),
    Key("Init image hash", "image", _TEXT),
    Key("RNG", "rng", _TEXT),
    Key("Hires upscale", "hires.scale", _NUMBER),
    Key("Hires resize", "hires.size", _SIZE),
    Key("Hires steps", "hires.num_inference_steps", _WHOLE),
    Key("Hires upscaler", "hires.upscaler", _TEXT),
    Key("Mask mode", "invert_mask", _words({True: "Inpaint not masked", False: "Inpaint masked"})),
    Key("Mask blur", "mask_blur", _WHOLE),
    Key("Inpaint area", "area", _words({"whole": "Whole picture", "masked": "Only masked"})),
    Key("Masked area padding", "padding", _WHOLE),
    Key(
        "Masked content",
        "masked_content",
        _words({"fill": "fill", "latent_noise": "latent noise", "latent_nothing": "latent nothing"}),
    ),
    Key("Lora hashes", "lora_hashes", _TEXT),
    Key("TI hashes", "embedding_hashes", _TEXT),
)

# What the WebUI has no key for, or says less exactly. In its texts these are some extension's.
OWN_KEYS = (
    Key("Mode", "mode", _TEXT),
    Key("Mask hash", "mask", _TEXT),
    Key("Input size", "input_size", _SIZE),
    Key(
        "Resize mode",
        "resize_mode",
        _words(
            {
                "stretch": "Just resize",
                "crop": "Crop and resize",
                "fill": "Resize and fill",
                "latent": "Just resize (latent upscale)",
            }
        ),
    ),
    Key("Outpaint left", "left", _WHOLE),
    Key("Outpaint right", "right", _WHOLE),
    Key("Outpaint top", "top", _WHOLE),
    Key("Outpaint bottom", "bottom", _WHOLE),
    Key("Upscaler", "upscaler", _TEXT),
    Key("Tile", "tile", _WHOLE),
    Key("Tile overlap", "overlap", _WHOLE),
    Key("Deterministic", "deterministic", _FLAG),
    Key("Format", "image_format", _TEXT),
    Key("Quality", "quality", _WHOLE),
    Key("Weights", "addons", _ADDONS),
    Key("Exact prompt", "prompt", _SEALED),
    Key("Exact negative prompt", "negative_prompt", _SEALED),
)

# What SD.Next calls otherwise.
SDNEXT_KEYS = (
    Key("Hires scale", "hires.scale", _NUMBER),
    Key("Hires size", "hires.size", _SIZE),
    Key("Hires strength", "hires.strength", _NUMBER),
)

VERSION_KEY = Key("Version", "version", _TEXT)
KEYS = (*WEBUI_KEYS, *OWN_KEYS, VERSION_KEY)
