"""Textual-inversion embeddings and LoRAs, each as one safetensors file. Neither needs diffusers."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from farm.weights.files.family import Sniffed, sniff
from farm.weights.files.header import BadWeights
from workers.ingest.kinds import expect
from workers.ingest.opening.sources import open_weights
from workers.ingest.opening.tensors import LazyTensor, TensorFiles, write
from workers.ingest.request import Outcome, Request

LORA_FILE, EMBEDDING_FILE = "lora.safetensors", "embedding.safetensors"
_EMBEDDING_NAMES = {"emb_params": "clip_l", "clip_l": "clip_l", "clip_g": "clip_g"}
_STRING_TO_PARAM = "string_to_param."


def ingest_lora(request: Request, target: Path, scratch: Path) -> Outcome:
    """Keep the LoRA as safetensors in its own names, with its metadata: some have the rank's scale there alone."""
    files = open_weights(request.source, scratch)
    sniffed = expect("lora", sniff(files.header, request.source.name))
    write(target / LORA_FILE, {name: files.part(name) for name in files.header.tensors}, files.header.metadata)
    return _outcome(request, sniffed)


def ingest_embedding(request: Request, target: Path, scratch: Path) -> Outcome:
    """Write the vectors as `clip_l`, of shape (vectors, width), and for SDXL's second text encoder as `clip_g`."""
    files = open_weights(request.source, scratch)
    sniffed = expect("embedding", sniff(files.header, request.source.name))
    parts = _vectors(files)
    if "clip_l" not in parts:
        raise BadWeights("It holds vectors for SDXL's second text encoder alone.")
    write(target / EMBEDDING_FILE, parts)
    return _outcome(request, sniffed)


def _vectors(files: TensorFiles) -> Mapping[str, LazyTensor]:
    names = list(files.header.tensors)
    known = {_EMBEDDING_NAMES[name]: name for name in names if name in _EMBEDDING_NAMES}
    learned = [name for name in names if name.startswith(_STRING_TO_PARAM)]
    return {kind: _as_rows(files.part(name)) for kind, name in (known or {"clip_l": (learned or names)[0]}).items()}


def _as_rows(part: LazyTensor) -> LazyTensor:
    if len(part.shape) not in (1, 2):
        raise BadWeights(f"Its vectors have the shape {list(part.shape)}; one row for each token was expected.")
    shape = part.shape if len(part.shape) == 2 else (1, *part.shape)
    return replace(part, shape=shape, take=lambda: part.take().reshape(shape))


def _outcome(request: Request, sniffed: Sniffed) -> Outcome:
    wish = request.family
    if wish and sniffed.family and wish.base != sniffed.family:
        raise BadWeights(f"It is made for {sniffed.family}, not for {wish.name}.")
    if wish or sniffed.family:
        return Outcome(wish.name if wish else sniffed.family)
    return Outcome(None, warnings=("It does not say which family it is made for; name it with --family.",))
