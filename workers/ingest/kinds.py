"""What a file holds, and whether that is what was asked for."""

from farm.weights.files.family import Sniffed
from farm.weights.files.header import BadWeights

_KINDS = {"checkpoint": "a checkpoint", "vae": "a VAE", "lora": "a LoRA", "embedding": "an embedding"}


def expect(kind: str, sniffed: Sniffed, also: str | None = None) -> Sniffed:
    """What was found, if it is of this kind, or of the other that will do. Raises BadWeights."""
    if sniffed.kind not in (kind, also):
        held = _KINDS.get(sniffed.kind, "nothing that is known here")
        raise BadWeights(f"It holds {held}, not {_KINDS[kind]}.")
    return sniffed
