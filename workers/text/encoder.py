"""One chunk of text through one text encoder: layer, embeddings, emphasis."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from farm.errors import CannotRender
from farm.families import Family
from workers.text.tokens import CHUNK_SIZE, Chunk


@dataclass(frozen=True)
class Layer:
    """Which layer's output is taken, counted from the end (1 is the last), and whether the final norm follows."""

    from_end: int
    is_normed: bool


@dataclass(frozen=True)
class Encoded:
    """A chunk's hidden states (77, width); of an encoder with a projection also the pooled text (width,)."""

    tokens: torch.Tensor
    pooled: torch.Tensor | None


ChunkKey = tuple[int, Layer, tuple[tuple[str, float], ...], Chunk]
"""What decides an encoded chunk: the encoder's number, the layer, the LoRAs and their weights, the tokens."""


def layer_of(family: Family, clip_skip: int) -> Layer:
    """The layer that a clip skip means, in the WebUI's count: 1 the last of CLIP, 2 the one before.

    SD1 was trained on the last, SD2 and SDXL on the one before: these take the latter for 1 and 2 alike.
    SD2's text encoder is kept without the last layer, so that its own last is CLIP's last but one.
    """
    if family.is_sdxl:
        return Layer(max(clip_skip, 2), is_normed=False)
    if family.base == "sd2":
        return Layer(max(clip_skip - 1, 1), is_normed=True)
    return Layer(clip_skip, is_normed=True)


@torch.no_grad()
def encode_chunk(
    encoder: Any,
    tokenizer: Any,
    chunk: Chunk,
    layer: Layer,
    *,
    vectors: Mapping[str, torch.Tensor],
    device: torch.device,
) -> Encoded:
    """Encode one chunk alone, so that no other text enters its bits.

    `vectors` are embeddings (rows, width) by sha256. Raises CannotRender where there is no such layer.
    """
    ids = torch.tensor([_framed(chunk, tokenizer)], device=device)
    places = {1 + index: vectors[token.embedding[0]][token.embedding[1]] for index, token in _embedded(chunk)}
    with _replaced(encoder.get_input_embeddings(), places):
        output = encoder(ids, output_hidden_states=True)
    hidden = output.hidden_states
    if layer.from_end > len(hidden):
        raise CannotRender(f"This checkpoint's text encoder has {len(hidden) - 1} layers; clip skip is too large.")
    tokens = hidden[-layer.from_end]
    if layer.is_normed:
        # Newer releases of transformers have no `text_model` around the parts of the plain encoder.
        tokens = getattr(encoder, "text_model", encoder).final_layer_norm(tokens)
    pooled = getattr(output, "text_embeds", None)
    return Encoded(emphasized(tokens[0], _weights(chunk)), None if pooled is None else pooled[0])


def emphasized(tokens: torch.Tensor, weights: Sequence[float]) -> torch.Tensor:
    """Each token's vector times its weight, with the mean of all brought back to what it was.

    The WebUI's default emphasis, "Original". `tokens` has the shape (tokens, width).
    """
    if all(weight == 1 for weight in weights):
        return tokens
    exact = tokens.float()
    weighted = exact * torch.tensor(weights, device=tokens.device)[:, None]
    return (weighted * (exact.mean() / weighted.mean())).to(tokens.dtype)


def _framed(chunk: Chunk, tokenizer: Any) -> list[int]:
    """Begin, tokens, end, and the family's padding."""
    padding = [tokenizer.pad_token_id] * (CHUNK_SIZE - len(chunk))
    return [tokenizer.bos_token_id, *(token.id for token in chunk), tokenizer.eos_token_id, *padding]


def _weights(chunk: Chunk) -> list[float]:
    return [1.0, *(token.weight for token in chunk), *[1.0] * (CHUNK_SIZE + 1 - len(chunk))]


def _embedded(chunk: Chunk) -> Iterator[tuple[int, Any]]:
    return ((index, token) for index, token in enumerate(chunk) if token.embedding)


@contextmanager
def _replaced(embeddings: torch.nn.Module, places: Mapping[int, torch.Tensor]) -> Iterator[None]:
    """Put vectors in the place of looked-up ones: the vocabulary need not grow, nor shrink again."""
    if not places:
        yield
        return

    def replace(_module: Any, _args: Any, output: torch.Tensor) -> torch.Tensor:
        output = output.clone()
        for position, vector in places.items():
            output[0, position] = vector.to(output)
        return output

    handle = embeddings.register_forward_hook(replace)
    try:
        yield
    finally:
        handle.remove()
