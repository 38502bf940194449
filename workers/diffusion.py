"""The renderer that runs diffusers pipelines on a CUDA device or the CPU."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import structlog
import torch

from farm.config import Settings
from farm.errors import CannotRender, OutOfMemory, RenderError
from farm.queue.claim import ClaimedCheckpoint
from farm.spec.image import ImageSpec
from farm.store.protocol import open_store
from workers.canvas.inputs import Inputs, StoredInputs
from workers.compute.budget import choose_budget, memory_bytes
from workers.compute.faults import translate_device_faults
from workers.compute.memory import (
    DoesNotFit,
    Measures,
    MemoryLadder,
    apply_measures,
    image_footprint,
    is_out_of_memory,
)
from workers.compute.precision import resolve_precision
from workers.compute.probe import check_device
from workers.model.adapters import apply_addons
from workers.model.pipelines import Pipelines
from workers.model.provenance import Machine
from workers.model.readahead import ReadAhead
from workers.model.storereads import Reads
from workers.model.weights_cache import open_weights
from workers.modes import RENDERS
from workers.renderer import OnStep, Picture
from workers.sampling.batches import bucket_of, group_alike, pad
from workers.sampling.context import RenderContext, make_group_callback

log = structlog.get_logger(__name__)


def open_renderer(settings: Settings, label: str, device_name: str, threads: int) -> "DiffusionRenderer":
    """The renderer of the device that this process is pinned to. Raises DeviceUnfit if that does not compute."""
    device = "cpu" if label.startswith("cpu") else "cuda"
    torch.set_num_threads(threads)
    check_device(device, resolve_precision(settings.precision, device))
    torch.backends.cudnn.benchmark = False
    store, reads = open_store(settings), Reads()
    budget = choose_budget(device, settings.resident_bytes)
    pipelines = Pipelines(device, settings.precision, open_weights(settings, store, reads), budget)
    machine = Machine(device_name, pipelines.precision, threads if device == "cpu" else None)
    ahead = ReadAhead(lambda may_fetch: open_weights(settings, store, Reads(), may_fetch))
    return DiffusionRenderer(pipelines, machine, StoredInputs(store, reads), reads, ahead)


@dataclass(frozen=True)
class _Shortage:
    """Memory did not suffice: what the allocator said, and what the VAE had tried if it was the VAE."""

    reason: str
    is_vae: bool
    relief: Sequence[str]


class DiffusionRenderer:
    """Renders batches in buckets. Where memory runs out it climbs the ladder of `workers.compute.memory`."""

    def __init__(
        self,
        pipelines: Pipelines,
        machine: Machine,
        inputs: Inputs,
        reads: Reads | None = None,
        ahead: ReadAhead | None = None,
    ) -> None:
        self._pipelines = pipelines
        self._machine = machine
        self._inputs = inputs
        self._reads = reads or Reads()
        self._ahead = ahead
        self._ladder = MemoryLadder()

    @property
    def device_name(self) -> str:
        return self._machine.device_name

    @property
    def device_class(self) -> str:
        return self._machine.device_name

    @cached_property
    def memory_bytes(self) -> int:
        return memory_bytes(self._pipelines.device)

    @property
    def resident_ids(self) -> Sequence[int]:
        return self._pipelines.resident_ids

    @property
    def resident_id(self) -> int | None:
        return self._pipelines.resident_id

    @property
    def is_reading(self) -> bool:
        return self._reads.is_going_on

    def cached_ids(self, checkpoints: Iterable[ClaimedCheckpoint]) -> Sequence[int]:
        return [checkpoint.id for checkpoint in checkpoints if self._pipelines.weights.has(checkpoint)]

    def load(self, checkpoint: ClaimedCheckpoint) -> None:
        with translate_device_faults():
            self._pipelines.load(checkpoint)

    def read_ahead(self, checkpoint: ClaimedCheckpoint) -> None:
        if self._ahead and not self._pipelines.is_resident(checkpoint):
            self._ahead.wish(checkpoint)

    def render(
        self, checkpoint: ClaimedCheckpoint, specs: Sequence[ImageSpec], on_step: OnStep
    ) -> Sequence[Picture]:
        with translate_device_faults():
            return self._climb(checkpoint, specs, on_step)

    def _climb(
        self, checkpoint: ClaimedCheckpoint, specs: Sequence[ImageSpec], on_step: OnStep
    ) -> Sequence[Picture]:
        """Render alone on the device if need be, and then with ever less at a time, until it fits."""
        footprint = image_footprint(checkpoint.sha256, specs[0])
        offloaded = self._pipelines.load(checkpoint).is_offloaded
        begun = measures = self._ladder.first(footprint, bucket_of(len(specs)), is_offloaded=offloaded)
        if measures.is_offloaded:
            self._pipelines.keep_only(checkpoint)
        while True:
            tried = self._try(checkpoint, specs, on_step, measures)
            if not isinstance(tried, _Shortage):
                self._ladder.note(footprint, begun, measures)
                return tried
            # Outside the `except` of the try: its traceback kept the tensors that did not fit alive.
            if measures.is_offloaded and not offloaded:
                # Half of it may be where it was moved to when memory ran out.
                self._pipelines.unload()
            elif self._pipelines.keep_only(checkpoint):
                log.info("Memory ran out; tried again without other checkpoints.", reason=tried.reason)
                continue
            self._pipelines.shed()
            measures = self._next_measures(measures, specs[0], tried)

    def _try(
        self, checkpoint: ClaimedCheckpoint, specs: Sequence[ImageSpec], on_step: OnStep, measures: Measures
    ) -> "list[Picture] | _Shortage":
        try:
            return self._render(checkpoint, specs, on_step, measures)
        except CannotRender as error:
            if len(specs) == 1:
                raise
            # One spec of several may be at fault, and the others are innocent: each is tried alone.
            raise RenderError(f"One of {len(specs)} images rendered together failed. {error}") from error
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            relief = error.relief if isinstance(error, DoesNotFit) else ()
            return _Shortage(str(error).split("\n", 1)[0], isinstance(error, DoesNotFit), relief)

    def _render(
        self, checkpoint: ClaimedCheckpoint, specs: Sequence[ImageSpec], on_step: OnStep, measures: Measures
    ) -> list[Picture]:
        """Render in groups that go through the UNet together, each padded to its own bucket."""
        resident = self._pipelines.load(checkpoint)
        context = RenderContext(resident, self._inputs, specs[0].vae.sha256 if specs[0].vae else "")
        words = measures.words(bucket_of(len(specs)))
        pictures: dict[int, Picture] = {}
        try:
            # The measures inside: what they move is the VAE that decodes, which may be another.
            with (
                self._pipelines.budget.watch(checkpoint.family),
                apply_addons(resident, specs[0], resident.weights),
                apply_measures(
                    measures, resident.pipeline, self._pipelines.device, was_offloaded=resident.is_offloaded
                ),
            ):
                groups = group_alike(specs, context.conditioning_shape, measures.bucket)
                for number, indices in enumerate(groups):
                    group = [specs[index] for index in indices]
                    on_group_step = make_group_callback(on_step, number, len(groups))
                    images = RENDERS[group[0].mode](context, pad(group), on_group_step)
                    bucket = bucket_of(len(group))
                    # What the VAE was found to need while it worked on these.
                    relief = tuple(dict.fromkeys([*words, *context.vae.relief]))
                    for spec, index, pixels in zip(group, indices, images, strict=False):
                        provenance = self._machine.provenance(
                            checkpoint, spec, bucket, relief, vae_precision=context.vae.precision
                        )
                        pictures[index] = Picture(pixels, provenance, relief)
        finally:
            # Also after a cancel: a UNet left on the device would crowd the next job's text encoders.
            resident.pipeline.maybe_free_model_hooks()
        return [pictures[index] for index in range(len(specs))]

    def _next_measures(self, measures: Measures, spec: ImageSpec, shortage: _Shortage) -> Measures:
        """The next rung. Raises OutOfMemory at the top, with what would be needed in the allocator's words."""
        harder = measures.harder(can_offload=self._pipelines.device == "cuda", is_vae=shortage.is_vae)
        reason = shortage.reason
        if harder is None:
            done = tuple(dict.fromkeys([*measures.words(1), *shortage.relief]))
            _sha256, width, height = image_footprint("", spec)
            raise OutOfMemory(
                f"An image of {width} x {height} does not fit into the memory of {self.device_name}, "
                f"not even alone and with less at a time ({', '.join(done)}). {reason}",
                done,
            )
        log.warning("Memory ran out; trying with less.", measures=harder.words(measures.bucket), reason=reason)
        return harder
