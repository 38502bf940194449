"""What the render loop asks of a device, and what it gets."""

from collections.abc import Callable, Mapping, Sequence
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
    """Renders on the one device of this process. Every method raises RenderError on failure.

    StoreAway, one of these, says that neither the task nor this device is to blame.
    """

    @property
    def device_name(self) -> str:
        """What the device calls itself."""

    @property
    def resident_id(self) -> int | None:
        """The id of the checkpoint that is loaded; None for none."""

    @property
    def is_reading(self) -> bool:
        """Whether it waits for the store now: what hangs then is not the device."""

    def load(self, checkpoint: ClaimedCheckpoint) -> None:
        """Make a checkpoint resident; nothing happens if it is."""

    def render(
        self, checkpoint: ClaimedCheckpoint, specs: Sequence[ImageSpec], on_step: OnStep
    ) -> Sequence[Picture]:
        """Render specs that share a batch key, in their order. Whatever `on_step` raises ends the call."""
