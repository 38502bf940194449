"""What is recorded with each image so that it can be made again: software, device, precision, bucket."""

from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from typing import Any

from farm.dispatch import ClaimedCheckpoint

_PACKAGES = ("diffusion-farm", "torch", "diffusers", "transformers")


@dataclass(frozen=True)
class Machine:
    """What of this process enters pixels. `threads` is None on a GPU, where it does not."""

    device_name: str
    precision: str
    threads: int | None

    def provenance(
        self, checkpoint: ClaimedCheckpoint, bucket: int, relief: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        """The record of one image; `relief` is what was done for want of memory, since it may enter pixels."""
        return {
            "checkpoint": checkpoint.name,
            "checkpoint_sha256": checkpoint.sha256,
            "device": self.device_name,
            "precision": self.precision,
            "bucket": bucket,
            "versions": self.versions,
            **({"threads": self.threads} if self.threads else {}),
            **({"relief": list(relief)} if relief else {}),
        }

    @cached_property
    def versions(self) -> dict[str, str]:
        return {package: version(package) for package in _PACKAGES}
