"""The pipelines resident on this process's device."""

import time
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import structlog
import torch
import transformers
from diffusers.utils import logging as diffusers_logging

from farm.errors import RenderError
from farm.queue.claim import ClaimedCheckpoint
from farm.spec.families import FAMILIES, Family
from workers.compute.budget import ONE_RESIDENT, Budget
from workers.compute.memory import free_caches, is_out_of_memory
from workers.compute.placement import dtype_of
from workers.compute.precision import DTYPES, resolve_precision
from workers.model.loras import Loras
from workers.model.pipelinefolder import (
    BROKEN_FILES,
    check_pipeline,
    estimate_bytes,
    read_pipeline,
    read_vae_tensors,
)
from workers.model.resident import Resident, ResidentKey, count_bytes, key_of, tensors_of
from workers.model.vae import VaeNeeds
from workers.model.weights import PlacedWeights, Weights

log = structlog.get_logger(__name__)


class Pipelines:
    """Loads checkpoints onto the device, and keeps those that were used last, as many as its budget has room for.

    Its residents are a tuple, the least recently used first, that is replaced and never changed: other threads may
    read it.
    """

    def __init__(
        self, device: str, precision: str, weights: Weights | None = None, budget: Budget = ONE_RESIDENT
    ) -> None:
        self.device = device
        self.precision = resolve_precision(precision, device)
        self.weights = weights or PlacedWeights()
        self.budget = budget
        self.vae_needs = VaeNeeds()
        self._residents: tuple[Resident, ...] = ()
        # A worker's output is a log: no progress bars in it.
        diffusers_logging.disable_progress_bar()
        transformers.logging.disable_progress_bar()

    @property
    def resident(self) -> Resident | None:
        """The one that was used last."""
        return self._residents[-1] if self._residents else None

    @property
    def resident_ids(self) -> tuple[int, ...]:
        """The ids of all residents, the most recently used first."""
        return tuple(number for resident in reversed(self._residents) for number in tuple(resident.ids))

    @property
    def resident_id(self) -> int | None:
        return self.resident.checkpoint.id if self.resident else None

    def is_resident(self, checkpoint: ClaimedCheckpoint) -> bool:
        return any(resident.key == key_of(checkpoint) for resident in self._residents)

    def load(self, checkpoint: ClaimedCheckpoint) -> Resident:
        """The pipeline of a checkpoint, loaded unless it is resident. Raises RenderError.

        1. Its files are fetched: while the store is away those that are resident stay, and render on.
        2. Room is made: those that were not used for longest go, until it fits the budget beside the others.
        3. It is read and moved to the device; if that lacks memory, all others go, and at last it is offloaded.
        """
        family = _family_of(checkpoint)
        resident = self._find(checkpoint) or self._load(checkpoint, family, self.weights.folder_of(checkpoint))
        resident.ids[checkpoint.id] = None
        self._note_use(resident)
        return resident

    def keep_only(self, checkpoint: ClaimedCheckpoint) -> bool:
        """Drop all other residents; whether there were any."""
        return self._keep([key_of(checkpoint)])

    def shed(self) -> None:
        """Free what no render needs now, and what the allocator keeps."""
        if self.resident:
            self.resident.shed()
        free_caches(self.device)

    def unload(self) -> None:
        """Drop all weights where they are: copying them back to the host takes longer than reading them again."""
        self._keep([])

    def _find(self, checkpoint: ClaimedCheckpoint) -> Resident | None:
        """The resident; None too where its VAE must be read again.

        It was found to overflow in another family's resident of the same weights.
        """
        found = next((resident for resident in self._residents if resident.key == key_of(checkpoint)), None)
        is_current = found is not None and dtype_of(found.pipeline.vae) == self._vae_dtype(checkpoint)
        return found if is_current else None

    def _load(self, checkpoint: ClaimedCheckpoint, family: Family, folder: Path) -> Resident:
        started = time.monotonic()
        self._make_room(checkpoint, estimate_bytes(folder, DTYPES[self.precision]))
        pipeline = self._read(folder, checkpoint, family)
        is_offloaded = not self._place(pipeline)
        resident = Resident(
            checkpoint,
            family,
            pipeline,
            is_offloaded,
            self.weights,
            Loras(pipeline),
            self.vae_needs,
            pipeline_bytes=count_bytes(tensors_of(*pipeline.components.values())),
            make_room=partial(self.keep_only, checkpoint),
            hold=self.weights.hold(checkpoint),
        )
        self._residents = (*self._residents, resident)
        log.info(
            "Loaded a checkpoint.",
            checkpoint=checkpoint.name,
            seconds=round(time.monotonic() - started, 2),
            is_offloaded=is_offloaded,
            bytes=resident.pipeline_bytes,
            resident=len(self._residents),
        )
        return resident

    def _make_room(self, checkpoint: ClaimedCheckpoint, coming_bytes: int) -> None:
        """Drop what has no place beside a checkpoint that is about to be loaded; an offloaded one has none."""
        others = {
            resident.key: resident.nbytes
            for resident in self._residents
            if resident.key != key_of(checkpoint) and not resident.is_offloaded
        }
        if self._residents:
            room = self.budget.weight_bytes(checkpoint.family, coming_bytes=coming_bytes) - coming_bytes
            self._keep(list(others)[count_to_drop(list(others.values()), room) :])

    def _note_use(self, used: Resident) -> None:
        """Put it last, and drop those that the budget has no room for any more beside it."""
        others = {resident.key: resident.nbytes for resident in self._residents if resident is not used}
        if others:
            room = self.budget.weight_bytes(used.checkpoint.family) - used.nbytes
            self._keep([*list(others)[count_to_drop(list(others.values()), room) :], used.key])

    def _keep(self, keys: Sequence[ResidentKey]) -> bool:
        """Let these be the residents, in this order; whether others were dropped."""
        kept = {resident.key: resident for resident in self._residents if resident.key in keys}
        dropped = [resident for resident in self._residents if resident.key not in keys]
        self._residents = tuple(kept[key] for key in keys if key in kept)
        if not dropped:
            return False
        nbytes = sum(resident.nbytes for resident in dropped if not resident.is_offloaded)
        _release(dropped)
        # What still names their weights here would keep them alive.
        dropped.clear()
        free_caches(self.device)
        self.budget.note_dropped(nbytes)
        return True

    def _read(self, folder: Path, checkpoint: ClaimedCheckpoint, family: Family) -> Any:
        try:
            pipeline = read_pipeline(
                folder, family, dtype=DTYPES[self.precision], vae_dtype=self._vae_dtype(checkpoint)
            )
        except BROKEN_FILES as error:
            if not (is_out_of_memory(error) and self._residents):
                raise RenderError(f"Checkpoint {checkpoint.name!r} does not load: {error}") from error
            pipeline = None
        if pipeline is None:
            self.unload()
            return self._read(folder, checkpoint, family)
        check_pipeline(pipeline, checkpoint.name, family)
        self.vae_needs.weights[checkpoint.sha256] = partial(read_vae_tensors, folder)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def _place(self, pipeline: Any) -> bool:
        """Move a pipeline to the device; where it does not fit, let its parts go there in turn and say False."""
        fits = self._try_to_move(pipeline) or (self._keep([]) and self._try_to_move(pipeline))
        if not fits:
            pipeline.to("cpu")
            free_caches(self.device)
            pipeline.enable_model_cpu_offload(device=self.device)
        return fits

    def _try_to_move(self, pipeline: Any) -> bool:
        try:
            pipeline.to(self.device)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return False
        return True

    def _vae_dtype(self, checkpoint: ClaimedCheckpoint) -> torch.dtype:
        """Full where it was found to need that; else the same as all parts, until it overflows."""
        return self.vae_needs.precisions.get(checkpoint.sha256, DTYPES[self.precision])


def count_to_drop(sizes: Sequence[int], room: int) -> int:
    """How many residents go, the first ones, so that the others fit the room. All sizes are in bytes."""
    held = sum(sizes)
    for number, size in enumerate(sizes):
        if held <= room:
            return number
        held -= size
    return len(sizes)


def _release(dropped: Iterable[Resident]) -> None:
    for resident in dropped:
        resident.hold.close()
        log.info("Dropped a checkpoint.", checkpoint=resident.checkpoint.name)


def _family_of(checkpoint: ClaimedCheckpoint) -> Family:
    if checkpoint.family not in FAMILIES:
        raise RenderError(f"This worker knows no family {checkpoint.family!r}.")
    return FAMILIES[checkpoint.family]
