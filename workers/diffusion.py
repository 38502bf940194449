"""The renderer that runs diffusers pipelines on a CUDA device or the CPU."""

from collections.abc import Iterator, Sequence

import structlog
import torch

from farm.config import Settings
from farm.dispatch import ClaimedCheckpoint
from farm.errors import OutOfMemory
from farm.specs import ImageSpec
from workers.batches import bucket_of, pad
from workers.memory import Kind, Measures, MemoryLadder, applied, free_caches, is_out_of_memory
from workers.modes import RENDERS
from workers.pipelines import Pipelines
from workers.provenance import Machine
from workers.renderer import OnStep, Picture

log = structlog.get_logger(__name__)


def open_renderer(settings: Settings, label: str, device_name: str, threads: int) -> "DiffusionRenderer":
    """The renderer of the device that this process is pinned to."""
    device = "cpu" if label.startswith("cpu") else "cuda"
    torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark = False
    pipelines = Pipelines(device, settings.precision)
    return DiffusionRenderer(
        pipelines, Machine(device_name, pipelines.precision, threads if device == "cpu" else None)
    )


class DiffusionRenderer:
    """Renders batches in buckets. Where memory runs out it climbs the ladder of `workers.memory`."""

    def __init__(self, pipelines: Pipelines, machine: Machine) -> None:
        self._pipelines = pipelines
        self._machine = machine
        self._ladder = MemoryLadder()

    @property
    def device_name(self) -> str:
        return self._machine.device_name

    @property
    def resident_id(self) -> int | None:
        return self._pipelines.resident_id

    def load(self, checkpoint: ClaimedCheckpoint) -> None:
        self._pipelines.load(checkpoint)

    def render(
        self, checkpoint: ClaimedCheckpoint, specs: Sequence[ImageSpec], on_step: OnStep
    ) -> Sequence[Picture]:
        kind: Kind = (checkpoint.sha256, specs[0].width, specs[0].height)
        offloaded = self._pipelines.load(checkpoint).is_offloaded
        measures = self._ladder.first(kind, bucket_of(len(specs)), is_offloaded=offloaded)
        while True:
            pictures, reason = self._try(checkpoint, specs, on_step, measures)
            if pictures is not None:
                self._ladder.note(kind, measures)
                return pictures
            # Outside the `except` of the try: its traceback kept the tensors that did not fit alive.
            free_caches(self._pipelines.device)
            measures = self._harder(measures, specs[0], reason)

    def _try(
        self, checkpoint: ClaimedCheckpoint, specs: Sequence[ImageSpec], on_step: OnStep, measures: Measures
    ) -> tuple[list[Picture] | None, str]:
        """The pictures; or None and what the allocator said, if memory did not suffice."""
        try:
            return list(self._render(checkpoint, specs, on_step, measures)), ""
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            return None, str(error).split("\n", 1)[0]

    def _render(
        self, checkpoint: ClaimedCheckpoint, specs: Sequence[ImageSpec], on_step: OnStep, measures: Measures
    ) -> Iterator[Picture]:
        resident = self._pipelines.load(checkpoint)
        relief = measures.words(bucket_of(len(specs)))
        with applied(measures, resident.pipeline, self._pipelines.device, was_offloaded=resident.is_offloaded):
            for start in range(0, len(specs), measures.bucket):
                part = specs[start : start + measures.bucket]
                provenance = self._machine.provenance(checkpoint, bucket_of(len(part)), relief)
                images = RENDERS[part[0].mode](resident.pipeline, pad(part), on_step)
                yield from (Picture(pixels, provenance, relief) for pixels in images[: len(part)])

    def _harder(self, measures: Measures, spec: ImageSpec, reason: str) -> Measures:
        """The next rung. Raises OutOfMemory at the top, with what would be needed in the allocator's words."""
        harder = measures.harder(can_offload=self._pipelines.device == "cuda")
        if harder is None:
            done = measures.words(1)
            raise OutOfMemory(
                f"An image of {spec.width} x {spec.height} does not fit into the memory of {self.device_name}, "
                f"not even alone and with less at a time ({', '.join(done)}). {reason}",
                done,
            )
        log.warning("Memory ran out; trying with less.", measures=harder.words(measures.bucket), reason=reason)
        return harder
