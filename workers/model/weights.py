"""Where the files of weights lie on this host."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from farm.errors import RenderError
from farm.queue.claim import ClaimedCheckpoint


class Hold(Protocol):
    """That something is in use, until it is closed."""

    def close(self) -> None: ...


class Weights(Protocol):
    """Answers where the weights lie. What raises RenderError fetches them where need be."""

    def folder_of(self, checkpoint: ClaimedCheckpoint) -> Path:
        """The diffusers folder of a checkpoint, in use until another one is asked for. Raises RenderError."""
        ...

    def file_of(self, sha256: str) -> Path:
        """The safetensors file of a VAE, an embedding or a LoRA. Raises RenderError."""
        ...

    def hold(self, checkpoint: ClaimedCheckpoint) -> Hold:
        """Keep the folder that was asked for last in use until this is closed, whatever else is asked for."""
        ...

    def has(self, checkpoint: ClaimedCheckpoint) -> bool:
        """Whether the checkpoint lies on this host, so that nothing need be fetched."""
        ...


@dataclass(frozen=True)
class NothingHeld:
    """Holds what nobody deletes."""

    def close(self) -> None:
        """There is nothing to release."""


@dataclass(frozen=True)
class PlacedWeights:
    """Weights that were put on this host by hand: checkpoints at their registered place, single files by hash."""

    files: Mapping[str, Path] = field(default_factory=dict)

    def folder_of(self, checkpoint: ClaimedCheckpoint) -> Path:
        folder = Path(checkpoint.location)
        if not folder.is_dir():
            raise RenderError(f"This worker does not find checkpoint {checkpoint.name!r} at its registered place.")
        return folder

    def hold(self, checkpoint: ClaimedCheckpoint) -> Hold:
        return NothingHeld()

    def has(self, checkpoint: ClaimedCheckpoint) -> bool:
        return Path(checkpoint.location).is_dir()

    def file_of(self, sha256: str) -> Path:
        if sha256 not in self.files:
            raise RenderError(f"This worker does not find the weights {sha256[:10]}.")
        return self.files[sha256]
