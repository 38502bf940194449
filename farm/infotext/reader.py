"""From a parameters text to what it asks for: the farm's own are read whole, the WebUI's as far as they go."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from farm.errors import FieldProblem, InvalidRequest
from farm.infotext.grammar import Parsed, parse
from farm.infotext.keys import KEYS, VERSION_KEY, WEBUI_KEYS, Addons
from farm.samplers import split_name
from farm.specs import ImageSpec, read_spec

_MOST_CHARACTERS = 200_000
_OURS = {key.name: key for key in KEYS}
_WEBUIS = {key.name: key for key in (*WEBUI_KEYS, VERSION_KEY)}

# Read, but for no field of a spec: they say again what others say, or nothing about the picture.
_ASIDE = ("model_hash", "vae_hash", "lora_hashes", "embedding_hashes", "rng", "version", "addons")
_HARMLESS = frozenset({"Hashes", "User"})
_WEIGHT_FILES = (".safetensors", ".ckpt", ".pt")

_OF_A_MASK = ("mask_blur", "masked_content", "area", "padding", "invert_mask")
_NO_REQUEST_TAKES = ("input_size",)
# They follow from the picture and the sides.
_NOT_FOR_OUTPAINT = ("width", "height")


@dataclass(frozen=True)
class Infotext:
    """What a text asks for.

    `fields` are those of a job request, its one prompt in `prompts`. Names stand as the text has them:
    what is registered here under them, if anything, shows when the job is submitted. `model_hash` is the
    first digits of the checkpoint's sha256, None where the text has none. `addons` are the VAE, the LoRAs and
    the embeddings that the farm itself rendered with. `warnings` say what of the text is left out.
    """

    fields: Mapping[str, Any]
    warnings: tuple[str, ...]
    model_hash: str | None
    addons: Addons


def read_infotext(text: str) -> Infotext:
    """Read a text for a job that makes its image again. Raises InvalidRequest where it is too long to be one."""
    parsed = _parse(text)
    values, warnings = _values(parsed)
    fields = _fields(parsed, values)
    if not _is_ours(parsed):
        warnings += _doubts(values, fields)
        fields = _without_files(fields)
    addons = values.get("addons", Addons())
    return Infotext(_request(fields), tuple(warnings), values.get("model_hash"), addons)


def spec_of(text: str) -> ImageSpec:
    """The very spec that a text of the farm was written from. Raises ValueError where another wrote it."""
    parsed = _parse(text)
    values, _warnings = _values(parsed)
    addons = values.get("addons", Addons())
    return read_spec({**_fields(parsed, values), **addons.model_dump()})


def _is_ours(parsed: Parsed) -> bool:
    return parsed.items.get(VERSION_KEY.name, "").startswith("diffusion-farm")


def _parse(text: str) -> Parsed:
    if len(text) > _MOST_CHARACTERS:
        raise InvalidRequest([FieldProblem("parameters", f"has more than {_MOST_CHARACTERS:,} characters")])
    return parse(text)


def _values(parsed: Parsed) -> tuple[dict[str, Any], list[str]]:
    """The values by field, and what could not be read."""
    values: dict[str, Any] = {}
    warnings: list[str] = []
    known = _OURS if _is_ours(parsed) else _WEBUIS
    for name, text in parsed.items.items():
        if name not in known:
            continue
        try:
            values[known[name].field] = known[name].kind.read(text)
        except ValueError:
            warnings.append(f"{name} is left out: {text[:60]!r} is no value for it")
    unknown = [name for name in parsed.items if name not in known and name not in _HARMLESS]
    if unknown:
        warnings.append(f"left out, because it means nothing here: {', '.join(unknown)[:500]}")
    return values, warnings


def _fields(parsed: Parsed, values: Mapping[str, Any]) -> dict[str, Any]:
    """Fields as a spec has them."""
    hires = dict(_second_pass(values))
    fields: dict[str, Any] = {"prompt": parsed.prompt, "negative_prompt": parsed.negative_prompt}
    fields |= {name: value for name, value in values.items() if name not in _ASIDE and "." not in name}
    if "size" in fields:
        fields["width"], fields["height"] = fields.pop("size")
    if hires:
        hires |= {"strength": fields.pop("strength")} if "strength" in fields else {}
        fields["hires"] = hires
    fields.setdefault("mode", _mode(fields))
    split: dict[str, Any] = split_name(fields)
    return split


def _second_pass(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for field, value in values.items():
        part, _, name = field.partition(".")
        if part != "hires" or (name == "num_inference_steps" and value == 0):
            continue
        if name == "size":
            yield "width", value[0]
            yield "height", value[1]
        else:
            yield name, value


def _mode(fields: Mapping[str, Any]) -> str:
    """The WebUI does not say it: a mask calls for inpainting, and only a picture can be denoised in part."""
    if any(name in fields for name in _OF_A_MASK):
        return "inpaint"
    return "img2img" if "strength" in fields else "txt2img"


def _doubts(values: Mapping[str, Any], fields: Mapping[str, Any]) -> Iterator[str]:
    """Why a text of the WebUI does not lead to the same picture."""
    if values.get("rng") != "CPU":
        yield "its noise was drawn on a GPU and is drawn on the CPU here: the picture will be another"
    if fields["mode"] != "txt2img":
        wanted = "the picture and the mask" if fields["mode"] == "inpaint" else "the picture"
        yield f"it does not hold {wanted} it began from: give them"


def _without_files(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The WebUI names a VAE by its file, and its hash of a picture is none of ours."""
    kept = {name: value for name, value in fields.items() if name != "image"}
    for suffix in _WEIGHT_FILES if "vae" in kept else ():
        kept["vae"] = kept["vae"].removesuffix(suffix)
    return kept


def _request(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields as a request takes them. The prompt is what was rendered: it is not unfolded again."""
    left_out = ("prompt", *_NO_REQUEST_TAKES, *(_NOT_FOR_OUTPAINT if fields["mode"] == "outpaint" else ()))
    request = {name: value for name, value in fields.items() if name not in left_out}
    return {**request, "prompts": [fields["prompt"]], "dynamic_prompts": "off"}
