"""Where the files of weights lie on this host."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from farm.errors import RenderError
from farm.queue.claim import ClaimedCheckpoint


class Weights(Protocol):
    """Answers where the weights lie, after fetching them where need be. Both raise RenderError."""

    def folder_of(self, checkpoint: ClaimedCheckpoint) -> Path:
        """The diffusers folder of a checkpoint."""
        ...

    def file_of(self, sha256: str) -> Path:
        """The safetensors file of a VAE, an embedding or a LoRA."""
        ...


@dataclass(frozen=True)
class PlacedWeights:
    """Weights that were put on this host by hand: checkpoints at their registered place, single files by hash."""

    files: Mapping[str, Path] = field(default_factory=dict)

    def folder_of(self, checkpoint: ClaimedCheckpoint) -> Path:
        folder = Path(checkpoint.location)
        if not folder.is_dir():
            raise RenderError(f"This worker does not find checkpoint {checkpoint.name!r} at its registered place.")
        return folder

    def file_of(self, sha256: str) -> Path:
        if sha256 not in self.files:
            raise RenderError(f"This worker does not find the weights {sha256[:10]}.")
        return self.files[sha256]
