"""What is recorded with each image so that it can be made again: weights, software, device, precision, bucket."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from farm.queue.claim import ClaimedCheckpoint
from farm.spec.image import ImageSpec

# What reads weights, computes with them, or draws noise.
_PACKAGES = (
    *("diffusion-farm", "torch", "diffusers", "transformers", "safetensors"),
    *("peft", "scipy", "torchsde", "numpy", "pillow"),
)


@dataclass(frozen=True)
class Machine:
    """What of this process enters pixels. `threads` is None on a GPU, where it does not."""

    device_name: str
    precision: str
    threads: int | None

    def provenance(
        self,
        checkpoint: ClaimedCheckpoint,
        spec: ImageSpec,
        bucket: int,
        relief: tuple[str, ...] = (),
        *,
        vae_precision: str,
    ) -> dict[str, Any]:
        """The record of one image; `relief` is what was done for want of memory, since it may enter pixels.

        The VAE's precision is another one where it was found to overflow, in this image or one before.
        """
        return {
            "checkpoint": checkpoint.name,
            "checkpoint_sha256": checkpoint.sha256,
            "family": checkpoint.family,
            **dict(_addons(spec)),
            "device": self.device_name,
            "precision": self.precision,
            "vae_precision": vae_precision,
            "bucket": bucket,
            "versions": self.versions,
            **({"threads": self.threads} if self.threads else {}),
            **({"relief": list(relief)} if relief else {}),
        }

    @cached_property
    def versions(self) -> dict[str, str]:
        """Of all that are installed: what a render does not need may be missing."""
        return dict(_versions())


def _versions() -> Iterator[tuple[str, str]]:
    for package in _PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            continue


def _addons(spec: ImageSpec) -> Iterator[tuple[str, Any]]:
    """What was added to the checkpoint, by name and hash, and how much LoRAs counted; nothing where nothing was."""
    if spec.vae:
        yield "vae", spec.vae.model_dump()
    if spec.loras:
        yield "loras", [lora.model_dump(exclude_none=True) for lora in spec.loras]
    if spec.embeddings:
        yield "embeddings", [embedding.model_dump() for embedding in spec.embeddings]
