"""A rendered image, and how it is encoded: into the file and the thumbnail that are stored."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from farm.infotext import infotext
from farm.queue.claim import ClaimedCheckpoint
from farm.queue.claimed import Lease
from workers.loop.delivery.encode import encode, encode_thumbnail
from workers.loop.delivery.spoolfile import FinishedImage
from workers.renderer import Picture


@dataclass(frozen=True)
class RenderedImage:
    """One image as it left the device, and what is to be recorded with it. `timings` are in seconds."""

    lease: Lease
    checkpoint: ClaimedCheckpoint
    picture: Picture
    gpu_seconds: float
    timings: Mapping[str, float]


def encode_rendered(rendered: RenderedImage) -> FinishedImage:
    """The image with its infotext, and its thumbnail, in the format that the spec asks for."""
    started = time.monotonic()
    picture, spec = rendered.picture, rendered.lease.spec
    image = encode(picture.pixels, spec, infotext(spec, rendered.checkpoint.sha256))
    thumbnail = encode_thumbnail(picture.pixels)
    return FinishedImage(
        lease=rendered.lease,
        image=image,
        thumbnail=thumbnail,
        gpu_seconds=rendered.gpu_seconds,
        timings={**rendered.timings, "encode": time.monotonic() - started},
        provenance=picture.provenance,
        relief=picture.relief,
    )
