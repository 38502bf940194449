"""A checkpoint of any form becomes a diffusers folder that holds safetensors alone."""

import json
from dataclasses import dataclass
from pathlib import Path

import diffusers

from farm.spec.families import FAMILIES, Family
from farm.weights.files.family import Sniffed, sniff
from farm.weights.files.header import BadWeights
from workers.ingest import keys
from workers.ingest.components import LIBRARIES, Component, write_component, write_scheduler
from workers.ingest.configs import Config, scheduler_config
from workers.ingest.folder import read_folder
from workers.ingest.loading import check
from workers.ingest.opening.sources import open_weights
from workers.ingest.request import Outcome, Request
from workers.ingest.singlefile import read_components, read_vae
from workers.ingest.tokenizers.tokenizing import TOKENIZERS, write_tokenizers

_KINDS = {
    "vae": "a VAE",
    "lora": "a LoRA",
    "embedding": "a textual-inversion embedding",
    "unet-only": "a UNet alone",
    "unknown": "nothing that is known here",
}


@dataclass(frozen=True)
class _Parts:
    """A checkpoint taken apart. `folder` is where its own tokenizers are, None for a single file."""

    family: Family
    components: list[Component]
    scheduler: Config
    folder: Path | None
    warnings: tuple[str, ...] = ()
    forces_zeros: bool = True


def ingest_checkpoint(request: Request, target: Path, scratch: Path) -> Outcome:
    """Write the checkpoint into the target, and load it once from there. Raises BadWeights."""
    parts = _open_folder(request, scratch) if request.source.is_dir() else _open_file(request, scratch)
    for component in parts.components:
        write_component(component, target / component.name)
    encoders = [component for component in parts.components if component.name in TOKENIZERS]
    warnings = write_tokenizers(encoders, parts.family, parts.folder, request.vocabulary, target)
    write_scheduler(parts.scheduler, target / "scheduler")
    (target / "model_index.json").write_text(json.dumps(_index(parts), indent=2, sort_keys=True) + "\n")
    check(target, parts.family, {component.name: component.torch_dtype for component in parts.components})
    unread = [line for component in parts.components for line in keys.left_out(component.name, component.unknown)]
    return Outcome(parts.family.name, parts.scheduler["prediction_type"], (*parts.warnings, *unread, *warnings))


def _open_folder(request: Request, scratch: Path) -> _Parts:
    found = read_folder(request.source, lambda folder: open_weights(folder, scratch))
    family = _settle(found.family, request.family)
    scheduler = {"prediction_type": "epsilon", **found.scheduler}
    if family != found.family:
        scheduler["prediction_type"] = family.prediction_type
    return _Parts(
        family,
        _with_vae(found.components, request, family, scratch),
        scheduler,
        request.source,
        warnings=keys.left_out("scheduler", keys.sift("scheduler", found.scheduler)[1]),
        forces_zeros=bool(found.index.get("force_zeros_for_empty_prompt", True)),
    )


def _open_file(request: Request, scratch: Path) -> _Parts:
    files = open_weights(request.source, scratch)
    sniffed = sniff(files.header, request.source.name)
    _refuse_incomplete(sniffed, has_vae=request.vae is not None)
    found = FAMILIES[str(sniffed.family)]
    family = _settle(found, request.family)
    prediction = family.prediction_type if family.base == "sd2" else str(sniffed.prediction_type)
    vae = open_weights(request.vae, scratch) if request.vae else None
    return _Parts(
        family,
        read_components(files, family, vae=vae),
        scheduler_config(family.base, prediction, is_zero_snr="ztsnr" in files.header.tensors),
        None,
        sniffed.notes if request.family is None else (),
    )


def _settle(found: Family, wish: Family | None) -> Family:
    """The family found, unless the wish says better which of SD2's two trainings it had."""
    if wish is None or wish == found:
        return found
    if {wish.name, found.name} == {"sd2", "sd2-v"}:
        return wish
    raise BadWeights(f"It holds {found.name} weights, not {wish.name}.")


def _refuse_incomplete(sniffed: Sniffed, *, has_vae: bool) -> None:
    if sniffed.kind != "checkpoint":
        raise BadWeights(f"It holds {_KINDS[sniffed.kind]}, not a checkpoint.")
    encoders = [part for part in sniffed.lacks if part != "vae"]
    if encoders:
        raise BadWeights(f"It holds no {encoders[0]}: get the full checkpoint.")
    if "vae" in sniffed.lacks and not has_vae:
        raise BadWeights("It holds no VAE: name one to go with it (--vae).")


def _with_vae(components: list[Component], request: Request, family: Family, scratch: Path) -> list[Component]:
    if request.vae is None:
        return components
    given = read_vae(open_weights(request.vae, scratch), family)
    return [given if component.name == "vae" else component for component in components]


def _index(parts: _Parts) -> Config:
    """The folder's index; what is null is not there, and diffusers does not look for it then."""
    components = {component.name: list(LIBRARIES[component.name]) for component in parts.components}
    tokenizers = {TOKENIZERS[name]: ["transformers", "CLIPTokenizer"] for name in components if name in TOKENIZERS}
    absent = ["feature_extractor", "image_encoder", *([] if parts.family.is_sdxl else ["safety_checker"])]
    index: Config = {
        **components,
        **tokenizers,
        **{name: [None, None] for name in absent},
        "scheduler": ["diffusers", parts.scheduler["_class_name"]],
    }
    if parts.family.is_sdxl:
        index["force_zeros_for_empty_prompt"] = parts.forces_zeros
    else:
        index["requires_safety_checker"] = False
    return {"_class_name": parts.family.pipeline, "_diffusers_version": diffusers.__version__, **index}
