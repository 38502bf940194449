"""One chunk of text through one text encoder: layer, embeddings, emphasis."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from farm.errors import CannotRender
from farm.spec.families import Family
from workers.model.text.tokens import CHUNK_SIZE, Chunk


@dataclass(frozen=True)
class ClipLayer:
    """Which layer's output is taken, counted from the end (1 is the last), and whether the final norm follows."""

    from_end: int
    is_normed: bool


@dataclass(frozen=True)
class EncodedChunk:
    """A chunk's hidden states (77, width); of an encoder with a projection also the pooled text (width,)."""

    hidden_states: torch.Tensor
    pooled: torch.Tensor | None


ChunkKey = tuple[int, ClipLayer, tuple[tuple[str, float], ...], Chunk]
"""What decides an encoded chunk: the encoder's number, the layer, the LoRAs and their weights, the tokens."""


def choose_layer(family: Family, clip_skip: int) -> ClipLayer:
    """The layer that a clip skip means, in the WebUI's count: 1 the last of CLIP, 2 the one before.

    SD1 was trained on the last, SD2 and SDXL on the one before: these take the latter for 1 and 2 alike.
    SD2's text encoder is kept without the last layer, so that its own last is CLIP's last but one.
    """
    if family.is_sdxl:
        return ClipLayer(max(clip_skip, 2), is_normed=False)
    if family.base == "sd2":
        return ClipLayer(max(clip_skip - 1, 1), is_normed=True)
    return ClipLayer(clip_skip, is_normed=True)


@torch.no_grad()
def encode_chunk(
    encoder: Any,
    tokenizer: Any,
    chunk: Chunk,
    layer: ClipLayer,
    *,
    vectors: Mapping[str, torch.Tensor],
    device: torch.device,
) -> EncodedChunk:
    """Encode one chunk alone, so that no other text enters its bits.

    `vectors` are embeddings (rows, width) by sha256. Raises CannotRender where there is no such layer.
    """
    ids = torch.tensor([_frame_ids(chunk, tokenizer)], device=device)
    vectors_by_position = {
        1 + index: vectors[token.embedding[0]][token.embedding[1]] for index, token in _find_embedded(chunk)
    }
    with _replace_embeddings(encoder.get_input_embeddings(), vectors_by_position):
        output = encoder(ids, output_hidden_states=True)
    layers = output.hidden_states
    if layer.from_end > len(layers):
        raise CannotRender(f"This checkpoint's text encoder has {len(layers) - 1} layers; clip skip is too large.")
    hidden_states = layers[-layer.from_end]
    if layer.is_normed:
        # Newer releases of transformers have no `text_model` around the parts of the plain encoder.
        hidden_states = getattr(encoder, "text_model", encoder).final_layer_norm(hidden_states)
    pooled = getattr(output, "text_embeds", None)
    emphasized = apply_emphasis(hidden_states[0], _token_weights(chunk))
    return EncodedChunk(emphasized, None if pooled is None else pooled[0])


def apply_emphasis(hidden_states: torch.Tensor, weights: Sequence[float]) -> torch.Tensor:
    """Each token's vector times its weight, with the mean of all brought back to what it was.

    The WebUI's default emphasis, "Original". `hidden_states` has the shape (tokens, width).
    """
    if all(weight == 1 for weight in weights):
        return hidden_states
    exact = hidden_states.float()
    weighted = exact * torch.tensor(weights, device=hidden_states.device)[:, None]
    return (weighted * (exact.mean() / weighted.mean())).to(hidden_states.dtype)


def _frame_ids(chunk: Chunk, tokenizer: Any) -> list[int]:
    """Begin, tokens, end, and the family's padding."""
    padding = [tokenizer.pad_token_id] * (CHUNK_SIZE - len(chunk))
    return [tokenizer.bos_token_id, *(token.id for token in chunk), tokenizer.eos_token_id, *padding]


def _token_weights(chunk: Chunk) -> list[float]:
    return [1.0, *(token.weight for token in chunk), *[1.0] * (CHUNK_SIZE + 1 - len(chunk))]


def _find_embedded(chunk: Chunk) -> Iterator[tuple[int, Any]]:
    return ((index, token) for index, token in enumerate(chunk) if token.embedding)


@contextmanager
def _replace_embeddings(embeddings: torch.nn.Module, vectors: Mapping[int, torch.Tensor]) -> Iterator[None]:
    """Put vectors, by position, in the place of looked-up ones: the vocabulary need not grow, nor shrink again."""
    if not vectors:
        yield
        return

    def replace(_module: Any, _args: Any, output: torch.Tensor) -> torch.Tensor:
        output = output.clone()
        for position, vector in vectors.items():
            output[0, position] = vector.to(output)
        return output

    handle = embeddings.register_forward_hook(replace)
    try:
        yield
    finally:
        handle.remove()
