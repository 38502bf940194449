"""The keys of a parameters text, in the WebUI's order, and the fields of specs that they stand for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from farm.infotext.grammar import quote_value, quote_without_separators
from farm.spec.fields import FROZEN
from farm.spec.image import AddonRef, LoraRef
from farm.spec.settingnames import INFOTEXT_KEYS


class RecordedAddons(BaseModel):
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
    """What is none of these words is read as it is: the check of the field says what it takes."""
    fields = {text: field for field, text in words.items()}
    return Kind(lambda field: words[field], lambda text: fields.get(text, text))


_TEXT = Kind()
_WHOLE = Kind(str, int)
_NUMBER = Kind(_number, float)
_SIZE = Kind(lambda size: f"{size[0]}x{size[1]}", _size)
_FLAG = Kind(str, _flag)
_SEALED = Kind(quote=quote_without_separators)
_ADDONS = Kind(
    lambda addons: addons.model_dump_json(exclude_none=True),
    RecordedAddons.model_validate_json,
    quote_without_separators,
)


def _key(field: str, kind: Kind) -> Key:
    """The key of a setting, by the name that such texts have for it."""
    return Key(INFOTEXT_KEYS[field], field, kind)


WEBUI_KEYS = (
    _key("num_inference_steps", _WHOLE),
    _key("sampler", _TEXT),
    _key("schedule_type", _TEXT),
    _key("guidance_scale", _NUMBER),
    _key("seed", _WHOLE),
    _key("size", _SIZE),
    Key("Model hash", "model_hash", _TEXT),
    _key("checkpoint", _TEXT),
    Key("VAE hash", "vae_hash", _TEXT),
    _key("vae", _TEXT),
    _key("strength", _NUMBER),
    _key("clip_skip", _WHOLE),
    _key("image", _TEXT),
    Key("RNG", "rng", _TEXT),
    _key("hires.scale", _NUMBER),
    _key("hires.size", _SIZE),
    _key("hires.num_inference_steps", _WHOLE),
    _key("hires.upscaler", _TEXT),
    _key("invert_mask", _words({True: "Inpaint not masked", False: "Inpaint masked"})),
    _key("mask_blur", _WHOLE),
    _key("area", _words({"whole": "Whole picture", "masked": "Only masked"})),
    _key("padding", _WHOLE),
    _key(
        "masked_content",
        _words({"fill": "fill", "latent_noise": "latent noise", "latent_nothing": "latent nothing"}),
    ),
    Key("Lora hashes", "lora_hashes", _TEXT),
    Key("TI hashes", "embedding_hashes", _TEXT),
)

# What the WebUI has no key for, or says less exactly. In its texts these are some extension's.
OWN_KEYS = (
    _key("mode", _TEXT),
    _key("mask", _TEXT),
    _key("input_size", _SIZE),
    _key(
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
    _key("left", _WHOLE),
    _key("right", _WHOLE),
    _key("top", _WHOLE),
    _key("bottom", _WHOLE),
    _key("upscaler", _TEXT),
    _key("tile", _WHOLE),
    _key("overlap", _WHOLE),
    _key("deterministic", _FLAG),
    _key("image_format", _TEXT),
    _key("quality", _WHOLE),
    Key("Weights", "addons", _ADDONS),
    _key("prompt", _SEALED),
    _key("negative_prompt", _SEALED),
)

# What SD.Next calls otherwise.
SDNEXT_KEYS = (
    Key("Hires scale", "hires.scale", _NUMBER),
    Key("Hires size", "hires.size", _SIZE),
    _key("hires.strength", _NUMBER),
)

VERSION_KEY = Key("Version", "version", _TEXT)
KEYS = (*WEBUI_KEYS, *OWN_KEYS, VERSION_KEY)
