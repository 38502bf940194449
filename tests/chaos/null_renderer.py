"""A renderer that computes nothing: its images are noise from the spec's seed, its steps take as long as told.

Everything around it is real; it reads weights and uploaded pictures as a renderer does, and makes nothing of them.
It starts in a second, where torch takes five, so that processes may be killed often.
"""

import os
import signal
import sys
import time
from collections.abc import Iterable, Sequence

import numpy as np
import structlog

from farm.config import Settings
from farm.errors import RenderError
from farm.queue.claim import ClaimedCheckpoint
from farm.spec.image import ImageSpec
from farm.store.protocol import open_store
from farm.weights.files.hashing import hash_file
from workers.canvas.inputs import Inputs, NoInputs, StoredInputs
from workers.model.storereads import Reads
from workers.model.weights import PlacedWeights, Weights
from workers.model.weights_cache import CachedWeights
from workers.renderer import OnStep, Picture
from workers.sampling.batches import bucket_of

log = structlog.get_logger(__name__)

STEP_SECONDS = "CHAOS_STEP_SECONDS"
"""The environment variable that says how long a step takes."""

CACHE_BYTES = "CHAOS_CACHE_BYTES"
"""The environment variable that says how many bytes of weights a host keeps: less than a farm may set."""

RENDERED = "Rendered."
"""Logged for each call that came to its end, with the seeds of its images."""


class NullRenderer:
    """Renders whatever the checkpoint. The prompts `fail`, `hang` and `crash` do what they say."""

    def __init__(
        self,
        device_name: str,
        step_seconds: float,
        weights: Weights | None = None,
        inputs: Inputs | None = None,
        reads: Reads | None = None,
    ) -> None:
        self.device_name = self.device_class = device_name
        self.memory_bytes = 2**30
        self.resident_id: int | None = None
        self._step_seconds = step_seconds
        self._weights = weights or PlacedWeights()
        self._inputs = inputs or NoInputs()
        self._reads = reads or Reads()

    @property
    def resident_ids(self) -> Sequence[int]:
        return () if self.resident_id is None else (self.resident_id,)

    def cached_ids(self, checkpoints: Iterable[ClaimedCheckpoint]) -> Sequence[int]:
        return [checkpoint.id for checkpoint in checkpoints if self._weights.has(checkpoint)]

    def read_ahead(self, checkpoint: ClaimedCheckpoint) -> None:
        """It takes no time to load what computes nothing."""

    @property
    def is_reading(self) -> bool:
        return self._reads.is_going_on

    def load(self, checkpoint: ClaimedCheckpoint) -> None:
        """Bring its files here, where it has any in the store, and look whether they are whole."""
        if checkpoint.id == self.resident_id:
            return
        if checkpoint.files is not None:
            folder = self._weights.folder_of(checkpoint)
            for file in checkpoint.files:
                if hash_file(folder / file.path) != file.sha256:
                    raise RenderError(f"Checkpoint {checkpoint.name!r} does not load: {file.path} is damaged.")
        self.resident_id = checkpoint.id

    def render(
        self, checkpoint: ClaimedCheckpoint, specs: Sequence[ImageSpec], on_step: OnStep
    ) -> Sequence[Picture]:
        for spec in specs:
            _obey(spec.prompt)
            for sha256 in spec.inputs:
                self._inputs.picture(sha256)
        steps = specs[0].num_inference_steps
        for step in range(steps):
            time.sleep(self._step_seconds)
            on_step(step + 1, steps)
        log.info(RENDERED, seeds=[spec.seed for spec in specs])
        provenance = {"checkpoint_sha256": checkpoint.sha256, "bucket": bucket_of(len(specs))}
        return [Picture(noise(spec), provenance) for spec in specs]


def open_null(settings: Settings, label: str, device_name: str, threads: int) -> NullRenderer:
    store, reads = open_store(settings), Reads()
    cache_bytes = int(os.environ.get(CACHE_BYTES, settings.cache_bytes))
    weights = CachedWeights(store, settings.cache_folder, cache_bytes, reads)
    step_seconds = float(os.environ.get(STEP_SECONDS, "0.01"))
    return NullRenderer(device_name, step_seconds, weights, StoredInputs(store, reads), reads)


def _obey(prompt: str) -> None:
    """What some prompts do to the worker that renders them."""
    match prompt:
        case "fail":
            raise RenderError("the prompt says so")
        case "hang":
            time.sleep(3600)
        case "crash":
            sys.stderr.write("about to crash\n")
            os.kill(os.getpid(), signal.SIGSEGV)


def noise(spec: ImageSpec) -> np.ndarray:
    """The one image of a spec: uint8 of shape (height, width, 3)."""
    generator = np.random.default_rng(spec.seed)
    return generator.integers(0, 256, (spec.height, spec.width, 3), dtype=np.uint8)
