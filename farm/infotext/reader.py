"""From a parameters text to what it asks for: the farm's own are read whole, the WebUI's as far as they go."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from farm.infotext.grammar import ParsedText, parse
from farm.infotext.keys import KEYS, SDNEXT_KEYS, VERSION_KEY, WEBUI_KEYS, RecordedAddons
from farm.infotext.result import (
    AddonKind,
    Infotext,
    NotRead,
    WeightsHash,
    missing_pictures,
    parse_digest,
    parse_hashes,
    set_strength_aside,
    shorten,
)
from farm.infotext.tools.fooocus import translate_keys
from farm.spec.image import ImageSpec
from farm.spec.modes import MODES, USUAL_MODE, read_spec
from farm.spec.samplers import split_name

_MOST_CHARACTERS = 200_000
_OURS = {key.name: key for key in KEYS}
_WEBUIS = {key.name: key for key in (*WEBUI_KEYS, VERSION_KEY)}
_SDNEXTS = {**_WEBUIS, **{key.name: key for key in SDNEXT_KEYS}}

# Read, but for no field of a spec: they say again what others say, or nothing about the picture.
_ASIDE = ("model_hash", "vae_hash", "lora_hashes", "embedding_hashes", "rng", "version", "addons")
_HARMLESS = frozenset({"User"})
_MOST_LINES_NAMED = 5
_WEIGHT_FILES = (".safetensors", ".ckpt", ".pt")

_OF_A_MASK = ("mask_blur", "masked_content", "area", "padding", "invert_mask")
# Only an image from another one has these.
_OF_A_PICTURE = ("Image CFG scale", "Noise multiplier", "Init image hash")
_KINDS: Mapping[str, AddonKind] = {"lora": "lora", "embed": "embedding", "vae": "vae"}
_LISTS: tuple[tuple[str, str, AddonKind], ...] = (
    ("Lora hashes", "lora_hashes", "lora"),
    ("TI hashes", "embedding_hashes", "embedding"),
)


def read_parameters(text: str) -> Infotext:
    """Read a text for a job that makes its image again. Raises NotRead where it is none, or misread it would be."""
    parsed = _parse(text)
    if not _is_ours(parsed):
        parsed = translate_keys(parsed)
    values, warnings = _values(parsed)
    addons = values.get("addons", RecordedAddons())
    if _is_ours(parsed):
        hashes = tuple(_of_addons(addons))
        return Infotext(_request(_fields(parsed, values)), tuple(warnings), values.get("model_hash"), hashes)
    if parsed.misread:
        raise NotRead(f"holds a parameters text that cannot be read: {parsed.misread}")
    hashes, model_hash, unclear = _hashes(parsed, values)
    fields = _without_files(_fields(parsed, values))
    takes_strength = "strength" in MODES[fields["mode"]].takes
    strength = None if takes_strength else fields.pop("strength", None)
    warnings += [*unclear, *_left_out(parsed), *_doubts(values, fields)]
    read = Infotext(_request(fields), tuple(warnings), model_hash, hashes)
    return read if strength is None else set_strength_aside(read, strength)


def is_parameters(text: str) -> bool:
    """Whether a text says anything but a prompt: a comment in a picture may be about anything."""
    return bool(_parse(text).items)


def spec_of(text: str) -> ImageSpec:
    """The very spec that a text of the farm was written from. Raises ValueError where another wrote it."""
    parsed = _parse(text)
    values, _warnings = _values(parsed)
    addons = values.get("addons", RecordedAddons())
    return read_spec({**_fields(parsed, values), **addons.model_dump()})


def _is_ours(parsed: ParsedText) -> bool:
    return parsed.items.get(VERSION_KEY.name, "").startswith("diffusion-farm")


def _parse(text: str) -> ParsedText:
    if len(text) > _MOST_CHARACTERS:
        raise NotRead(f"has more than {_MOST_CHARACTERS:,} characters of parameters text")
    return parse(text)


def _values(parsed: ParsedText) -> tuple[dict[str, Any], list[str]]:
    """The values by field, and what could not be read."""
    values: dict[str, Any] = {}
    warnings: list[str] = []
    known = _OURS if _is_ours(parsed) else _SDNEXTS if "Operations" in parsed.items else _WEBUIS
    for name, text in parsed.items.items():
        if name not in known:
            continue
        try:
            values[known[name].field] = known[name].kind.read(text)
        except ValueError:
            warnings.append(f"{name} is left out: {shorten(text)} is no value for it")
    unknown = [name for name in parsed.items if name not in known and name not in _HARMLESS]
    if unknown:
        warnings.append(f"left out, because it means nothing here: {', '.join(unknown)[:500]}")
    return values, warnings


def _fields(parsed: ParsedText, values: Mapping[str, Any]) -> dict[str, Any]:
    """Fields as a spec has them."""
    hires = dict(_second_pass(values))
    fields: dict[str, Any] = {"prompt": parsed.prompt, "negative_prompt": parsed.negative_prompt}
    fields |= {name: value for name, value in values.items() if name not in _ASIDE and "." not in name}
    if "size" in fields:
        fields["width"], fields["height"] = fields.pop("size")
    if hires:
        given = {"strength": fields.pop("strength")} if "strength" in fields else {}
        hires = {**given, **hires}
        fields["hires"] = hires
    fields.setdefault("mode", _mode(parsed, fields))
    split: dict[str, Any] = split_name(fields)
    return split


def _second_pass(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for field, value in values.items():
        part, _, name = field.partition(".")
        if part != "hires" or (name == "num_inference_steps" and value == 0):
            continue
        if name == "size" and "hires.scale" in values:
            # SD.Next says both.
            continue
        if name == "size":
            yield "width", value[0]
            yield "height", value[1]
        else:
            yield name, value


def _mode(parsed: ParsedText, fields: Mapping[str, Any]) -> str:
    """The WebUI does not say it. A mask calls for inpainting; a strength alone tells nothing, for images from text
    have one too. SD.Next says what it did.
    """
    if any(name in fields for name in _OF_A_MASK):
        return "inpaint"
    if operations := parsed.items.get("Operations", ""):
        return next((mode for mode in ("inpaint", "img2img") if mode in operations), USUAL_MODE)
    return "img2img" if any(key in parsed.items for key in _OF_A_PICTURE) else USUAL_MODE


def _left_out(parsed: ParsedText) -> Iterator[str]:
    if not parsed.items:
        yield "it says nothing but a prompt: all settings are the usual ones"
    if parsed.doubled:
        yield f"stands there twice, of which the last counts: {', '.join(parsed.doubled)[:500]}"
    if parsed.templates:
        yield "the template of its prompt is left out: the prompt stands there as it was unfolded"
    for number, line in parsed.behind[:_MOST_LINES_NAMED]:
        yield f"line {number} is left out, because it stands behind the settings: {shorten(line)}"
    if (more := len(parsed.behind) - _MOST_LINES_NAMED) > 0:
        yield f"so {'is 1 more line' if more == 1 else f'are {more:,} more lines'}"


def _doubts(values: Mapping[str, Any], fields: Mapping[str, Any]) -> Iterator[str]:
    """Why a text of the WebUI does not lead to the same picture."""
    if values.get("rng") != "CPU":
        yield "its noise was drawn on a GPU and is drawn on the CPU here: the picture will be another"
    yield from missing_pictures(fields["mode"])


def _of_addons(addons: RecordedAddons) -> Iterator[WeightsHash]:
    if addons.vae:
        yield WeightsHash("vae", addons.vae.name, addons.vae.sha256, is_exact=True)
    for lora in addons.loras:
        yield WeightsHash("lora", lora.name, lora.sha256, is_exact=True)
    for embedding in addons.embeddings:
        yield WeightsHash("embedding", embedding.name, embedding.sha256, is_exact=True)


def _hashes(parsed: ParsedText, values: Mapping[str, Any]) -> tuple[tuple[WeightsHash, ...], str | None, list[str]]:
    """The hashes of addons, that of the checkpoint, and what could not be read of them."""
    found: list[WeightsHash] = []
    unclear: list[str] = []
    if "vae" in values and "vae_hash" in values:
        found.append(WeightsHash("vae", _stem(values["vae"]), values["vae_hash"]))
    for name, field, kind in _LISTS:
        try:
            found += parse_hashes(kind, values.get(field, ""))
        except ValueError:
            unclear.append(f"{name} is left out: {shorten(values[field])} is no value for it")
    try:
        named = _named_hashes(parsed.hashes)
    except ValueError:
        named, unclear = {}, [*unclear, f"Hashes is left out: {shorten(parsed.hashes)} is no value for it"]
    known = {(each.kind, each.name) for each in found}
    for (word, name), digits in named.items():
        if name and word in _KINDS and (_KINDS[word], name) not in known:
            found.append(WeightsHash(_KINDS[word], name, digits))
    model_hash = values.get("model_hash") or named.get(("model", ""))
    return tuple(each for each in found if parse_digest(each.digits)), model_hash, unclear


def _named_hashes(text: str) -> dict[tuple[str, str], str]:
    """Civitai's `{"model": "...", "lora:name": "..."}`, by kind and name. Raises ValueError."""
    data = json.loads(text or "{}")
    if not all(isinstance(value, str) for value in data.values()):
        raise ValueError("no hashes by name")
    parts = ((key.partition(":"), value) for key, value in data.items())
    return {(word, name): value for (word, _, name), value in parts}


def _stem(name: str) -> str:
    for suffix in _WEIGHT_FILES:
        name = name.removesuffix(suffix)
    return name


def _without_files(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The WebUI names a VAE by its file, others a checkpoint too; and its hash of a picture is none of ours."""
    kept = {name: value for name, value in fields.items() if name != "image"}
    return kept | {name: _stem(kept[name]) for name in ("checkpoint", "vae") if name in kept}


def _request(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields as a request takes them. The prompt is what was rendered: it is not unfolded again."""
    mode = MODES.get(fields["mode"])
    left_out = {"prompt", *(mode.derived_fields if mode else ())}
    request = {name: value for name, value in fields.items() if name not in left_out}
    return {**request, "prompts": [fields["prompt"]], "dynamic_prompts": "off"}
