"""What to do when a device's memory does not suffice, step by step, and what sufficed the last time."""

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch

from farm.spec.image import ImageSpec
from workers.compute.hostmemory import give_back_heap

_OUT_OF_MEMORY_MESSAGES = (
    "not enough memory",
    "can't allocate memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    # A handle or a kernel library that finds no room says that it was not initialized.
    "CUBLAS_STATUS_NOT_INITIALIZED",
    "CUSOLVER_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_NOT_INITIALIZED",
    # cuDNN loads kernels as they are needed, and finds no room for them (pytorch issue 81620).
    "CUDNN_STATUS_INTERNAL_ERROR",
    # Every engine was tried, and none found room for its workspace (torch's try_plans, which hides why).
    "unable to find an engine to execute this computation",
    "Unable to find a valid cuDNN algorithm to run convolution",
)


class DoesNotFit(RuntimeError):
    """A VAE lacked memory even for a tile of one picture; the message is the allocator's. `relief` was tried."""

    def __init__(self, reason: str, relief: Sequence[str]) -> None:
        super().__init__(reason)
        self.relief = tuple(relief)


@dataclass(frozen=True)
class Measures:
    """How a batch is rendered: in calls of at most `bucket` images, and what else saves memory."""

    bucket: int
    are_caches_freed: bool = False
    is_offloaded: bool = False

    def harder(self, *, can_offload: bool, is_vae: bool = False) -> "Measures | None":
        """The next rung of the ladder; None at its top.

        1. Free what the allocator keeps: the memory may only be scattered.
        2. Halve the bucket, down to one image a call.
        3. Keep on the device only the part that computes.

        Where the VAE did not fit (`is_vae`) it has climbed a ladder of its own, down to a tile of one picture:
        small batches would not help it, and only the last rung is left.
        """
        if not self.are_caches_freed and not is_vae:
            return replace(self, are_caches_freed=True)
        if self.bucket > 1 and not is_vae:
            return replace(self, bucket=self.bucket // 2)
        if can_offload and not self.is_offloaded:
            return replace(self, is_offloaded=True)
        return None

    def words(self, wanted_bucket: int) -> tuple[str, ...]:
        """What was done, for the records of attempt and image; empty if nothing was."""
        steps = {
            "caches freed": self.are_caches_freed,
            f"bucket {self.bucket} instead of {wanted_bucket}": self.bucket < wanted_bucket,
            "offloaded": self.is_offloaded,
        }
        return tuple(word for word, is_done in steps.items() if is_done)


ImageFootprint = tuple[str, int, int]
"""(checkpoint sha256, width, height): what decides how much memory an image takes."""


def image_footprint(checkpoint_sha256: str, spec: ImageSpec) -> ImageFootprint:
    """The footprint of images of a spec's size on a checkpoint."""
    return checkpoint_sha256, *spec.heaviest_size


class MemoryLadder:
    """Remembers for each footprint which measures sufficed, so that the next batch begins there."""

    def __init__(self) -> None:
        self._known: dict[ImageFootprint, Measures] = {}

    def first(self, footprint: ImageFootprint, bucket: int, *, is_offloaded: bool) -> Measures:
        """What to begin with: what sufficed before, and what the checkpoint needed to be loaded at all."""
        known = self._known.get(footprint, Measures(bucket))
        return replace(known, bucket=min(known.bucket, bucket), is_offloaded=known.is_offloaded or is_offloaded)

    def note(self, footprint: ImageFootprint, begun: Measures, sufficed: Measures) -> None:
        """Remember what sufficed, where more had to be done than what was begun with.

        That caches were freed is no reason to free them each time, and that a batch was small is none to
        render the next one in small calls.
        """
        lasting = replace(sufficed, are_caches_freed=False)
        if lasting != begun:
            self._known[footprint] = lasting


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a render failed for want of memory: CUDA has a class for it, its libraries and the CPU have words."""
    if isinstance(error, torch.OutOfMemoryError | DoesNotFit):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in _OUT_OF_MEMORY_MESSAGES)


def free_caches(device: str) -> None:
    """Give back to the device and to the host what nothing uses any more."""
    if device == "cuda":
        # Parts that were once offloaded refer to themselves.
        gc.collect()
        torch.cuda.empty_cache()
    give_back_heap()


@contextmanager
def apply_measures(measures: Measures, pipeline: Any, device: str, *, was_offloaded: bool) -> Iterator[None]:
    """Let a pipeline save memory for one call, and restore it after: a later job is not slowed down."""
    is_to_offload = measures.is_offloaded and not was_offloaded
    if is_to_offload:
        pipeline.enable_model_cpu_offload(device=device)
    try:
        yield
    finally:
        if is_to_offload:
            pipeline.remove_all_hooks()
            pipeline.to(device)
