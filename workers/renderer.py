"""What the render loop asks of a device, and what it gets."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from farm.queue.claim import ClaimedCheckpoint
from farm.spec.image import ImageSpec

OnStep = Callable[[int, int], None]
"""Called after each step with (steps done, steps in all); raises to stop the render."""


@dataclass(frozen=True)
class Picture:
    """One rendered image and how it came about.

    `pixels` is uint8 of shape (height, width, 3). `relief` names what was done for want of memory,
    in order; it is empty where there was enough.
    """

    pixels: np.ndarray
    provenance: Mapping[str, Any]
    relief: tuple[str, ...] = ()


class Renderer(Protocol):
    """Renders on the one device of this process. `load` and `render` raise RenderError on failure.

    StoreAway, one of these, says that neither the task nor this device is to blame.
    """

    @property
    def device_name(self) -> str:
        """What the device calls itself."""

    @property
    def device_class(self) -> str:
        """What devices share that render equally fast: the GPU's or the processor's name."""

    @property
    def memory_bytes(self) -> int:
        """The memory that one checkpoint and its render may use: the device's own, or the host's for a CPU."""

    @property
    def resident_ids(self) -> Sequence[int]:
        """The ids of the checkpoints that are loaded, the most recently used first."""

    @property
    def resident_id(self) -> int | None:
        """The id of the checkpoint that was used last; None where none is loaded."""

    def cached_ids(self, checkpoints: Iterable[ClaimedCheckpoint]) -> Sequence[int]:
        """The ids of those whose weights lie on this host. It looks for their files: some 0.1 ms for each."""

    @property
    def is_reading(self) -> bool:
        """Whether it waits for the store now: what hangs then is not the device."""

    def load(self, checkpoint: ClaimedCheckpoint) -> None:
        """Make a checkpoint resident; nothing is loaded if it is. Others stay while there is room for them."""

    def read_ahead(self, checkpoint: ClaimedCheckpoint) -> None:
        """Bring the weights of a checkpoint that may come next to this host's memory, beside the render.

        It returns at once, and raises nothing. The last wish counts.
        """

    def render(
        self, checkpoint: ClaimedCheckpoint, specs: Sequence[ImageSpec], on_step: OnStep
    ) -> Sequence[Picture]:
        """Render specs that share a batch key, in their order. Whatever `on_step` raises ends the call."""
