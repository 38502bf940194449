"""From the settings of one image, as a request has them, to its spec: names looked up, sizes resolved."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from farm.errors import FieldProblem
from farm.intake.library import KnownAddon, KnownCheckpoint, Library
from farm.prompts.compose import compose
from farm.prompts.networks import NetworkTag, extract_networks, sum_tags
from farm.spec.fieldproblems import problems_of
from farm.spec.fields import LARGEST_LORA_WEIGHT, PICTURES
from farm.spec.image import AddonRef, ImageSpec, LoraRef
from farm.spec.modes import MODES
from farm.spec.sizes import Misfit, Settings
from farm.weights.lookup import UnknownName, unknown

_MOST_PARTS = 16


@dataclass(frozen=True)
class Resolution:
    """A spec, or what is wrong: fields as the request names them.

    `is_combination` says that each setting is right by itself, and together they are not.
    """

    spec: ImageSpec | None
    problems: tuple[FieldProblem, ...] = ()
    is_combination: bool = False


def resolve_spec(mode: str, settings: Settings, library: Library) -> Resolution:
    """The spec of one image. Every problem is found that can be found without having put the others right."""
    settings, unknown_names = _registered(settings, library)
    problems = [
        *_not_taken(mode, settings),
        *_lacking(mode, settings),
        *unknown_names,
        *_unknown(settings, library),
        *_too_many_parts(settings),
    ]
    if problems:
        return Resolution(None, tuple(problems))
    try:
        return Resolution(_spec(mode, settings, library))
    except Misfit as misfit:
        return Resolution(None, (FieldProblem(misfit.field, misfit.message),), is_combination=True)
    except ValidationError as error:
        return Resolution(None, tuple(problems_of(error)), is_combination=True)


def _not_taken(mode: str, settings: Settings) -> Iterator[FieldProblem]:
    for name in settings.keys() - MODES[mode].takes:
        modes = [other.name for other in MODES.values() if name in other.takes]
        yield FieldProblem(name, f"is for {' and '.join(modes)}, not for {mode}")


def _lacking(mode: str, settings: Settings) -> Iterator[FieldProblem]:
    for name in MODES[mode].needs:
        if name not in settings:
            yield FieldProblem(name, f"{mode} needs one")


def _registered(settings: Settings, library: Library) -> tuple[dict[str, Any], list[FieldProblem]]:
    """The settings with checkpoint and VAE by the names that they are registered under, and what is unknown."""
    found, problems = dict(settings), []
    for field, named in (("checkpoint", library.find_checkpoint), ("vae", library.find_vae)):
        if settings.get(field) is not None:
            try:
                found[field] = named(settings[field])
            except UnknownName as error:
                hint = "" if library.checkpoints or field == "vae" else "; add one with `farm checkpoints add`"
                problems.append(FieldProblem(field, f"{error}{hint}"))
    return found, problems


def _unknown(settings: Settings, library: Library) -> Iterator[FieldProblem]:
    if settings.get("checkpoint") is None:
        known = ", ".join(sorted(library.checkpoints)) or "none yet; add one with `farm checkpoints add`"
        yield FieldProblem("checkpoint", f"must be named. Known: {known}")
    for name in settings.get("styles", ()):
        if name not in library.styles:
            yield FieldProblem("styles", unknown("style", name, library.style_names))
    for name in PICTURES:
        if (digest := settings.get(name)) is not None and digest not in library.pictures:
            yield FieldProblem(name, f"there is no upload {digest[:80]}")


def _too_many_parts(settings: Settings) -> Iterator[FieldProblem]:
    """Every part costs a pass of the UNet in each step."""
    count = len(compose(settings["prompt"]))
    if count > _MOST_PARTS:
        yield FieldProblem("prompt", f"joins {count} prompts by AND; at most {_MOST_PARTS}")


def _spec(mode: str, settings: Settings, library: Library) -> ImageSpec:
    checkpoint = library.checkpoints[settings["checkpoint"]]
    prompt, negative = settings["prompt"], settings.get("negative_prompt", "")
    picture = library.pictures[settings["image"]] if "image" in settings else None
    fields = {
        **MODES[mode].size_rule(settings, checkpoint.size, picture),
        **_addons(settings, prompt, negative, checkpoint, library),
    }
    spec: ImageSpec = MODES[mode].spec.model_validate(fields)
    return spec


def _addons(
    settings: Settings, prompt: str, negative: str, checkpoint: KnownCheckpoint, library: Library
) -> dict[str, Any]:
    """The VAE, the LoRAs of the prompt's tags, and the embeddings that occur in it, as they are registered now."""
    names = library.embeddings_in(f"{prompt}\n{negative}", checkpoint.family.base)
    found: dict[str, Any] = {
        "loras": _loras(prompt, checkpoint, library),
        "embeddings": tuple(AddonRef(name=name, sha256=library.embeddings[name].sha256) for name in sorted(names)),
    }
    if (name := settings.get("vae")) is not None:
        vae = library.vaes[name]
        _check_base("vae", "VAE", vae, checkpoint)
        found["vae"] = AddonRef(name=name, sha256=vae.sha256)
    return found


def _loras(prompt: str, checkpoint: KnownCheckpoint, library: Library) -> tuple[LoraRef, ...]:
    tags = [_registered_tag(tag, library) for tag in extract_networks(prompt)[1]]
    # One LoRA that is spelled in two ways counts with the sum, too.
    return tuple(_lora(tag, checkpoint, library) for tag in sum_tags(tags))


def _registered_tag(tag: NetworkTag, library: Library) -> NetworkTag:
    try:
        return replace(tag, name=library.find_lora(tag.name))
    except UnknownName as error:
        raise Misfit(f"lora:{tag.name}", str(error)) from None


def _lora(tag: NetworkTag, checkpoint: KnownCheckpoint, library: Library) -> LoraRef:
    known, field = library.loras[tag.name], f"lora:{tag.name}"
    if max(abs(tag.weight), abs(tag.text_weight or 0)) > LARGEST_LORA_WEIGHT:
        raise Misfit(field, f"LoRA {tag.name!r}: a weight is from -{LARGEST_LORA_WEIGHT} to {LARGEST_LORA_WEIGHT}")
    _check_base(field, "LoRA", known, checkpoint)
    return LoraRef(name=tag.name, sha256=known.sha256, weight=tag.weight, text_weight=tag.text_weight)


def _check_base(field: str, what: str, addon: KnownAddon, checkpoint: KnownCheckpoint) -> None:
    """SD1 and SD2 share their VAE; everything else is made for one base."""
    alike = {"sd15", "sd2"} if what == "VAE" and addon.base in ("sd15", "sd2") else {addon.base}
    if checkpoint.family.base not in alike:
        raise Misfit(
            field,
            f"{what} {addon.name!r} is made for {addon.base}, checkpoint {checkpoint.name!r} is "
            f"{checkpoint.family.name}",
        )
