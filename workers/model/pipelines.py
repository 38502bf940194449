"""The pipeline resident on this process's device."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import structlog
import torch
import transformers
from diffusers import AutoencoderKL, StableDiffusionPipeline, StableDiffusionXLPipeline
from diffusers.utils import logging as diffusers_logging
from safetensors import SafetensorError

from farm.errors import RenderError
from farm.queue.claim import ClaimedCheckpoint
from farm.spec.families import FAMILIES, Family
from workers.compute.memory import free_caches, is_out_of_memory
from workers.compute.precision import DTYPES, resolve_precision
from workers.model.loras import Loras
from workers.model.lru import Bounded
from workers.model.text.encoder import ChunkKey, EncodedChunk
from workers.model.vae import VaeNeeds
from workers.model.weights import PlacedWeights, Weights

log = structlog.get_logger(__name__)

# What diffusers, transformers and safetensors raise for files that are missing, cut short or do not fit.
_BROKEN_FILES = (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError)

_CLASSES: Mapping[str, Any] = {
    "StableDiffusionPipeline": StableDiffusionPipeline,
    "StableDiffusionXLPipeline": StableDiffusionXLPipeline,
}
# Components that old folders name and nothing here needs.
_UNUSED = {"feature_extractor": None, "image_encoder": None}
_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "StableDiffusionPipeline": {**_UNUSED, "safety_checker": None, "requires_safety_checker": False},
    "StableDiffusionXLPipeline": {**_UNUSED, "add_watermarker": False},
}

# A chunk of SDXL's text takes 0.6 MB in full precision; embeddings and VAEs at most 0.3 and 330 MB.
_CHUNKS_KEPT = 256
_EMBEDDINGS_KEPT = 64
_VAES_KEPT = 2


@dataclass(frozen=True)
class Resident:
    """A loaded checkpoint, and what was made for it: LoRAs, VAEs, embeddings and encoded texts go when it goes.

    One that is offloaded did not fit the device: only the part that computes is there.
    """

    checkpoint: ClaimedCheckpoint
    family: Family
    pipeline: Any
    is_offloaded: bool
    weights: Weights
    loras: Loras
    vae_needs: VaeNeeds = field(default_factory=VaeNeeds)
    vaes: Bounded[str, Any] = field(default_factory=lambda: Bounded(_VAES_KEPT))
    embeddings: Bounded[str, tuple[torch.Tensor, ...]] = field(default_factory=lambda: Bounded(_EMBEDDINGS_KEPT))
    texts: Bounded[ChunkKey, EncodedChunk] = field(default_factory=lambda: Bounded(_CHUNKS_KEPT))

    def shed(self) -> None:
        """Drop what only waits to be used again, LoRAs and VAEs: it takes memory that a render lacks."""
        self.loras.clear()
        self.vaes.clear()

    @property
    def tokenizers(self) -> list[Any]:
        """One, or SDXL's two."""
        return _present(self.pipeline, "tokenizer", "tokenizer_2")

    @property
    def text_encoders(self) -> list[Any]:
        """One for each tokenizer."""
        return _present(self.pipeline, "text_encoder", "text_encoder_2")


class Pipelines:
    """Loads checkpoints onto the device, and keeps the last."""

    def __init__(self, device: str, precision: str, weights: Weights | None = None) -> None:
        self.device = device
        self.precision = resolve_precision(precision, device)
        self.weights = weights or PlacedWeights()
        self.vae_needs = VaeNeeds()
        self.resident: Resident | None = None
        # A worker's output is a log: no progress bars in it.
        diffusers_logging.disable_progress_bar()
        transformers.logging.disable_progress_bar()

    @property
    def resident_id(self) -> int | None:
        return self.resident.checkpoint.id if self.resident else None

    def load(self, checkpoint: ClaimedCheckpoint) -> Resident:
        """The pipeline of a checkpoint, loaded unless it is resident. Raises RenderError.

        Its files are fetched first: while the store is away the one that is resident stays, and renders on.
        """
        if self.resident and _is_same(self.resident.checkpoint, checkpoint):
            return self.resident
        started = time.monotonic()
        family = _family_of(checkpoint)
        folder = self.weights.folder_of(checkpoint)
        self.unload()
        pipeline = self._read(folder, checkpoint, family)
        is_offloaded = not self._place(pipeline)
        self.resident = Resident(
            checkpoint, family, pipeline, is_offloaded, self.weights, Loras(pipeline), self.vae_needs
        )
        log.info(
            "Loaded a checkpoint.",
            checkpoint=checkpoint.name,
            seconds=round(time.monotonic() - started, 2),
            is_offloaded=is_offloaded,
        )
        return self.resident

    def _place(self, pipeline: Any) -> bool:
        """Move a pipeline to the device; where it does not fit, let its parts go there in turn and say False."""
        try:
            pipeline.to(self.device)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            fits = False
        else:
            fits = True
        if not fits:
            pipeline.to("cpu")
            free_caches(self.device)
            pipeline.enable_model_cpu_offload(device=self.device)
        return fits

    def _read(self, folder: Path, checkpoint: ClaimedCheckpoint, family: Family) -> Any:
        try:
            pipeline = self._read_folder(folder, family, self._vae_dtype(checkpoint))
        except _BROKEN_FILES as error:
            raise RenderError(f"Checkpoint {checkpoint.name!r} does not load: {error}") from error
        _check(pipeline, checkpoint, family)
        self.vae_needs.weights[checkpoint.sha256] = partial(_vae_tensors, folder)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def _read_folder(self, folder: Path, family: Family, vae_dtype: torch.dtype) -> Any:
        return _CLASSES[family.pipeline].from_pretrained(
            folder,
            dtype={"vae": vae_dtype, "default": DTYPES[self.precision]},
            local_files_only=True,
            # A worker opens no pickle: what takes weights in does that, in a process that can do little else.
            use_safetensors=True,
            **_OPTIONS[family.pipeline],
        )

    def _vae_dtype(self, checkpoint: ClaimedCheckpoint) -> torch.dtype:
        """Full where it was found to need that; else the same as all parts, until it overflows."""
        return self.vae_needs.precisions.get(checkpoint.sha256, DTYPES[self.precision])

    def shed(self) -> None:
        """Free what no render needs now, and what the allocator keeps."""
        if self.resident:
            self.resident.shed()
        free_caches(self.device)

    def unload(self) -> None:
        """Drop the weights where they are: copying them back to the host takes longer than reading them again."""
        self.resident = None
        free_caches(self.device)


def _vae_tensors(folder: Path) -> Mapping[str, torch.Tensor]:
    """The VAE's weights as its file has them."""
    vae = AutoencoderKL.from_pretrained(
        folder, subfolder="vae", dtype=torch.float32, local_files_only=True, use_safetensors=True
    )
    tensors: Mapping[str, torch.Tensor] = vae.state_dict()
    return tensors


def _is_same(resident: ClaimedCheckpoint, wanted: ClaimedCheckpoint) -> bool:
    """The same weights may have been registered again as another family, which renders them in another way."""
    return (resident.sha256, resident.family) == (wanted.sha256, wanted.family)


def _family_of(checkpoint: ClaimedCheckpoint) -> Family:
    if checkpoint.family not in FAMILIES:
        raise RenderError(f"This worker knows no family {checkpoint.family!r}.")
    return FAMILIES[checkpoint.family]


def _check(pipeline: Any, checkpoint: ClaimedCheckpoint, family: Family) -> None:
    """Refuse what diffusers loads without an error and what would fail at the first call, or ignore prompts."""
    tokenizers = _present(pipeline, "tokenizer", "tokenizer_2")
    encoders = _present(pipeline, "text_encoder", "text_encoder_2")
    if any(len(own) < encoder.config.vocab_size for own, encoder in zip(tokenizers, encoders, strict=True)):
        # Where files are missing transformers makes an empty tokenizer, of which every prompt is the same.
        raise RenderError(f"Checkpoint {checkpoint.name!r} does not load: its tokenizer has no vocabulary.")
    channels = pipeline.unet.config.in_channels
    if channels != family.unet_channels:
        raise RenderError(
            f"Checkpoint {checkpoint.name!r} does not load: its UNet takes {channels} channels, "
            f"and the family {family.name} has {family.unet_channels}."
        )


def _present(pipeline: Any, *names: str) -> list[Any]:
    return [part for part in (getattr(pipeline, name, None) for name in names) if part is not None]
