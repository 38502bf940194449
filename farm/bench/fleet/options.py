"""What is simulated: how many devices, how much work, and how long an image takes."""

from dataclasses import dataclass

POOL = "fleet"


@dataclass(frozen=True)
class Timing:
    """How long a device is busy: seconds for an image of 512 x 512 pixels in a full batch, and for a load.

    Larger images take longer by their pixels, small batches by what each batch costs besides: as much as one more
    image, about as it is on GPUs. With `is_waited` False nothing is waited for, though the same seconds are
    reported: so the ceiling is measured.
    """

    image_seconds: float
    load_seconds: float
    full_batch: int = 8
    is_waited: bool = True

    def render_seconds(self, cost: float, images: int) -> float:
        """How long a batch of so many images renders whose cost is so much, in images of 512 x 512 pixels."""
        each = self.image_seconds * self.full_batch / (self.full_batch + 1)
        return each * cost * (images + 1) / images


@dataclass(frozen=True)
class FleetOptions:
    """One simulated fleet and its work.

    `image_seconds` None stands for as many as make all devices together render the part `offered` of the ceiling.
    `load` is how fast the work comes, as a part of what all devices can render; 0: all of it lies there when the
    devices start. `slots` is how many checkpoints a device keeps. `drivers` processes with `threads` each act for
    the devices.
    """

    devices: int = 1000
    tasks: int = 100_000
    owners: int = 100
    checkpoints: int = 200
    image_seconds: float | None = None
    load_seconds: float = 15.0
    offered: float = 0.8
    load: float = 0.0
    slots: int = 1
    batch: int = 8
    seed: int = 1
    drivers: int = 2
    threads: int = 6
