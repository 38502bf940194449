"""A checkpoint that is loaded onto the device, with all that was made for it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import torch

from farm.queue.claim import ClaimedCheckpoint
from farm.spec.families import Family
from workers.model.loras import Loras
from workers.model.lru import Bounded
from workers.model.pipelinefolder import present
from workers.model.text.encoder import ChunkKey, EncodedChunk
from workers.model.vae import VaeNeeds
from workers.model.weights import Hold, NothingHeld, Weights

# A chunk of SDXL's text takes 0.6 MB in full precision; embeddings and VAEs at most 0.3 and 330 MB.
_CHUNKS_KEPT = 256
_EMBEDDINGS_KEPT = 64
_VAES_KEPT = 2

ResidentKey = tuple[str, str]
"""(sha256, family): the same weights may be registered again as another family, which renders otherwise."""


@dataclass(frozen=True, eq=False)
class Resident:
    """A loaded checkpoint, and what was made for it: LoRAs, VAEs, embeddings and encoded texts go when it goes.

    One that is offloaded did not fit the device: only the part that computes is there. `make_room` drops all other
    residents and says whether there were any; `hold` keeps its files on this host. `ids` are all under which it was
    asked for, in that order, since the same weights may be registered twice.
    """

    checkpoint: ClaimedCheckpoint
    family: Family
    pipeline: Any
    is_offloaded: bool
    weights: Weights
    loras: Loras
    vae_needs: VaeNeeds = field(default_factory=VaeNeeds)
    vaes: Bounded[str, Any] = field(default_factory=lambda: Bounded(_VAES_KEPT))
    embeddings: Bounded[str, tuple[torch.Tensor, ...]] = field(default_factory=lambda: Bounded(_EMBEDDINGS_KEPT))
    texts: Bounded[ChunkKey, EncodedChunk] = field(default_factory=lambda: Bounded(_CHUNKS_KEPT))
    pipeline_bytes: int = 0
    make_room: Callable[[], bool] = lambda: False
    hold: Hold = field(default_factory=NothingHeld)
    ids: dict[int, None] = field(default_factory=dict)

    @property
    def key(self) -> ResidentKey:
        return key_of(self.checkpoint)

    @property
    def nbytes(self) -> int:
        """What it takes, with all that was made for it."""
        tensors = chain(
            chain.from_iterable(tensors_of(vae) for vae in self.vaes.values()),
            chain.from_iterable(self.embeddings.values()),
            (chunk.hidden_states for chunk in self.texts.values()),
        )
        return self.pipeline_bytes + self.loras.nbytes + count_bytes(tensors)

    def shed(self) -> None:
        """Drop what only waits to be used again, LoRAs and VAEs: it takes memory that a render lacks."""
        self.loras.clear()
        self.vaes.clear()

    @property
    def tokenizers(self) -> list[Any]:
        """One, or SDXL's two."""
        return present(self.pipeline, "tokenizer", "tokenizer_2")

    @property
    def text_encoders(self) -> list[Any]:
        """One for each tokenizer."""
        return present(self.pipeline, "text_encoder", "text_encoder_2")


def key_of(checkpoint: ClaimedCheckpoint) -> ResidentKey:
    """By what a checkpoint is the same as a resident one."""
    return checkpoint.sha256, checkpoint.family


def tensors_of(*parts: Any) -> Iterator[torch.Tensor]:
    """The parameters and buffers of those parts that have any."""
    modules = [part for part in parts if isinstance(part, torch.nn.Module)]
    return chain.from_iterable(chain(module.parameters(), module.buffers()) for module in modules)


def count_bytes(tensors: Iterator[torch.Tensor]) -> int:
    """What tensors take together; one that comes several times counts once."""
    return sum({id(tensor): tensor.nbytes for tensor in tensors}.values())
