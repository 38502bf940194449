"""Textual inversions: vectors that stand for a word of the prompt."""

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from farm.errors import CannotRender, RenderError
from farm.spec.image import AddonRef
from workers.compute.placement import device_of
from workers.model.resident import Resident
from workers.model.text.tokens import CHUNK_SIZE

_KEYS = ("clip_l", "clip_g")


def load_vectors(resident: Resident, ref: AddonRef) -> tuple[torch.Tensor, ...]:
    """The vectors of an embedding for each text encoder, of shape (rows, width). Raises CannotRender."""
    return resident.embeddings.take(ref.sha256, lambda: _read(resident, ref))


def _read(resident: Resident, ref: AddonRef) -> tuple[torch.Tensor, ...]:
    path = resident.weights.file_of(ref.sha256)
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise RenderError(f"Embedding {ref.name!r} does not load: {error}") from error
    widths = [encoder.config.hidden_size for encoder in resident.text_encoders]
    found = [tensors[key] for key in _KEYS if key in tensors]
    rows = {len(vectors) for vectors in found}
    if [vectors.shape[-1] for vectors in found] != widths or len(rows) != 1:
        shapes = ", ".join(f"{key} {tuple(tensors[key].shape)}" for key in sorted(tensors)) or "nothing"
        raise CannotRender(
            f"Embedding {ref.name!r} does not fit checkpoint {resident.checkpoint.name!r}: it holds {shapes}, "
            f"and the text encoders take vectors of width {' and '.join(map(str, widths))}."
        )
    if max(rows) > CHUNK_SIZE:
        raise CannotRender(f"Embedding {ref.name!r} has {max(rows)} vectors; at most {CHUNK_SIZE} fit a prompt.")
    return tuple(vectors.to(device_of(resident.pipeline)) for vectors in found)
