"""What is added to checkpoints: VAEs, textual-inversion embeddings and LoRAs, each as one safetensors file."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from farm.families import FAMILIES, Family
from farm.weights.header import BadWeights
from farm.weights.sniff import Sniffed, sniff
from workers.ingest.components import write_component
from workers.ingest.folder import read_component
from workers.ingest.request import Outcome, Request
from workers.ingest.singlefile import read_vae
from workers.ingest.sources import open_weights
from workers.ingest.tensors import Part, Shelf, write

LORA_FILE, EMBEDDING_FILE = "lora.safetensors", "embedding.safetensors"
_KINDS = {"checkpoint": "a checkpoint", "vae": "a VAE", "lora": "a LoRA", "embedding": "an embedding"}
_SDXL_NAME = "xl"
_EMBEDDING_NAMES = {"emb_params": "clip_l", "clip_l": "clip_l", "clip_g": "clip_g"}
_STRING_TO_PARAM = "string_to_param."


def ingest_vae(request: Request, target: Path, scratch: Path) -> Outcome:
    """Write `config.json` and the weights in diffusers' names; a checkpoint's own VAE may be taken out of it."""
    if request.source.is_dir():
        vae = read_component("vae", request.source, lambda folder: open_weights(folder, scratch))
        family = request.family or _family_of_scaling(vae.model.config.scaling_factor)
        write_component(vae, target)
        return Outcome(family.name)
    shelf = open_weights(request.source, scratch)
    sniffed = _expect("vae", sniff(shelf.header, request.source.name), also="checkpoint")
    family, warnings = _family_of_vae(request, sniffed)
    write_component(read_vae(shelf, family), target)
    return Outcome(family.name, warnings=warnings)


def _family_of_scaling(factor: float) -> Family:
    return FAMILIES["sdxl" if abs(factor - 0.13025) < 1e-4 else "sd15"]


def _family_of_vae(request: Request, sniffed: Sniffed) -> tuple[Family, tuple[str, ...]]:
    if request.family is not None:
        return request.family, ()
    if sniffed.family is not None:
        return FAMILIES[sniffed.family], ()
    guess = "sdxl" if _SDXL_NAME in request.source.name.lower() else "sd15"
    return FAMILIES[guess], (f"A VAE's file does not tell its family: {guess} is taken by its name (--family).",)


def ingest_lora(request: Request, target: Path, scratch: Path) -> Outcome:
    """Keep the LoRA as safetensors in its own names, with its metadata: some tell the rank's scale there alone."""
    shelf = open_weights(request.source, scratch)
    sniffed = _expect("lora", sniff(shelf.header, request.source.name))
    write(target / LORA_FILE, {name: shelf.part(name) for name in shelf.header.tensors}, shelf.header.metadata)
    return _outcome(request, sniffed)


def ingest_embedding(request: Request, target: Path, scratch: Path) -> Outcome:
    """Write the vectors as `clip_l`, of shape (vectors, width), and for SDXL's second text encoder as `clip_g`."""
    shelf = open_weights(request.source, scratch)
    sniffed = _expect("embedding", sniff(shelf.header, request.source.name))
    parts = _vectors(shelf)
    if "clip_l" not in parts:
        raise BadWeights("It holds vectors for SDXL's second text encoder alone.")
    write(target / EMBEDDING_FILE, parts)
    return _outcome(request, sniffed)


def _vectors(shelf: Shelf) -> Mapping[str, Part]:
    names = list(shelf.header.tensors)
    known = {_EMBEDDING_NAMES[name]: name for name in names if name in _EMBEDDING_NAMES}
    learned = [name for name in names if name.startswith(_STRING_TO_PARAM)]
    return {kind: _as_rows(shelf.part(name)) for kind, name in (known or {"clip_l": (learned or names)[0]}).items()}


def _as_rows(part: Part) -> Part:
    if len(part.shape) not in (1, 2):
        raise BadWeights(f"Its vectors have the shape {list(part.shape)}; one row for each token was expected.")
    shape = part.shape if len(part.shape) == 2 else (1, *part.shape)
    return replace(part, shape=shape, take=lambda: part.take().reshape(shape))


def _expect(kind: str, sniffed: Sniffed, also: str | None = None) -> Sniffed:
    if sniffed.kind not in (kind, also):
        held = _KINDS.get(sniffed.kind, "nothing that is known here")
        raise BadWeights(f"It holds {held}, not {_KINDS[kind]}.")
    return sniffed


def _outcome(request: Request, sniffed: Sniffed) -> Outcome:
    wish = request.family
    if wish and sniffed.family and wish.base != sniffed.family:
        raise BadWeights(f"It is made for {sniffed.family}, not for {wish.name}.")
    if wish or sniffed.family:
        return Outcome(wish.name if wish else sniffed.family)
    return Outcome(None, warnings=("It does not tell which family it is made for; name it with --family.",))
