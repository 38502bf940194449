"""The pipeline resident on this process's device."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
import torch
import transformers
from diffusers import StableDiffusionPipeline
from diffusers.utils import logging as diffusers_logging
from safetensors import SafetensorError

from farm.dispatch import ClaimedCheckpoint
from farm.errors import RenderError
from workers.memory import free_caches

log = structlog.get_logger(__name__)

# What diffusers, transformers and safetensors raise for files that are missing, cut short or do not fit.
_BROKEN_FILES = (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError)

_DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class MixedGuidancePipeline(StableDiffusionPipeline):
    """A pipeline that takes one guidance scale per image, as a tensor of shape (batch, 1, 1, 1).

    The stock class asks whether a single number is above 1. The caller sees to it that a batch is
    guided or not as a whole: that is part of the batch key.
    """

    @property
    def do_classifier_free_guidance(self) -> bool:
        scale = self._guidance_scale
        is_guided = bool((scale > 1).all()) if isinstance(scale, torch.Tensor) else scale > 1
        return is_guided and self.unet.config.time_cond_proj_dim is None


@dataclass(frozen=True)
class Resident:
    """A loaded checkpoint. One that is offloaded did not fit the device: only the part that computes is there."""

    checkpoint: ClaimedCheckpoint
    pipeline: Any
    is_offloaded: bool


class Pipelines:
    """Loads checkpoints onto the device, and keeps the last."""

    def __init__(self, device: str, precision: str) -> None:
        self.device = device
        self.precision = resolve_precision(precision, device)
        self.resident: Resident | None = None
        # A worker's output is a log: no progress bars in it.
        diffusers_logging.disable_progress_bar()
        transformers.logging.disable_progress_bar()

    @property
    def resident_id(self) -> int | None:
        return self.resident.checkpoint.id if self.resident else None

    def load(self, checkpoint: ClaimedCheckpoint) -> Resident:
        """The pipeline of a checkpoint, loaded unless it is resident. Raises RenderError."""
        if self.resident and self.resident.checkpoint.sha256 == checkpoint.sha256:
            return self.resident
        self._unload()
        started = time.monotonic()
        pipeline = self._read(checkpoint)
        self.resident = Resident(checkpoint, pipeline, is_offloaded=not self._place(pipeline))
        log.info(
            "Loaded a checkpoint.",
            checkpoint=checkpoint.name,
            seconds=round(time.monotonic() - started, 2),
            is_offloaded=self.resident.is_offloaded,
        )
        return self.resident

    def _place(self, pipeline: Any) -> bool:
        """Move a pipeline to the device; where it does not fit, let its parts go there in turn and say False."""
        try:
            pipeline.to(self.device)
        except torch.OutOfMemoryError:
            fits = False
        else:
            fits = True
        if not fits:
            pipeline.to("cpu")
            free_caches(self.device)
            pipeline.enable_model_cpu_offload(device=self.device)
        return fits

    def _read(self, checkpoint: ClaimedCheckpoint) -> Any:
        if not Path(checkpoint.location).is_dir():
            raise RenderError(f"This worker does not find checkpoint {checkpoint.name!r} at its registered place.")
        try:
            pipeline = MixedGuidancePipeline.from_pretrained(
                checkpoint.location,
                dtype=_DTYPES[self.precision],
                local_files_only=True,
                safety_checker=None,
                requires_safety_checker=False,
            )
        except _BROKEN_FILES as error:
            raise RenderError(f"Checkpoint {checkpoint.name!r} does not load: {error}") from error
        if len(pipeline.tokenizer) < pipeline.text_encoder.config.vocab_size:
            # Of missing files transformers makes an empty tokenizer, without a word: no prompt would be heard.
            raise RenderError(f"Checkpoint {checkpoint.name!r} does not load: its tokenizer has no vocabulary.")
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def _unload(self) -> None:
        """Drop the weights where they are: copying them back to the host takes longer than reading them again."""
        self.resident = None
        free_caches(self.device)


def resolve_precision(wish: str, device: str) -> str:
    """What `auto` means: half precision on a GPU, full on a CPU."""
    if wish != "auto":
        return wish
    return "fp16" if device == "cuda" else "fp32"
