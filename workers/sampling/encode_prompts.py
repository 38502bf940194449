"""Encodes the prompts of an image into the conditioning of its steps."""

from collections.abc import Iterable, Mapping, Sequence

import torch

from farm.prompts.attention import Section
from farm.prompts.embeddings import EmbeddingNames
from farm.prompts.plan import PlannedSubPrompt, plan, plan_negative
from farm.spec.image import ImageSpec
from workers.compute.placement import device_of
from workers.model.embeddings import load_vectors
from workers.model.resident import Resident
from workers.model.text.encoder import EncodedChunk, choose_layer, encode_chunk
from workers.model.text.tokens import Chunk, EmbeddingWord, split_into_chunks
from workers.sampling.conditioning import (
    Conditioning,
    EmbedsSchedule,
    PromptEmbeds,
    ScheduledEmbeds,
    WeightedPrompt,
)

SectionedText = tuple[Section, ...]
"""The sections of one text, whose fragments have weights."""


def encode_conditioning(
    resident: Resident, spec: ImageSpec, steps: int, *, first_pass_steps: int | None = None
) -> Conditioning:
    """The conditioning of one image in a pass of so many steps. `first_pass_steps` is given for a second pass.

    1. Plan: the prompts that AND joins, each with its texts and the steps at which they change.
    2. Split each distinct text into chunks of 75 tokens, and encode each chunk by itself; what was encoded is kept.
    3. Pad shorter texts with chunks of the empty prompt, so that all are equally long.

    An empty negative prompt is zeros where the checkpoint was trained so (SDXL), as in diffusers and the WebUI.
    Raises CannotRender for an embedding that does not fit, or a clip skip that the encoder lacks the layers for.
    """
    parts = plan(spec.prompt, steps, first_pass_steps=first_pass_steps)
    negative = plan_negative(spec.negative_prompt, steps, first_pass_steps=first_pass_steps)
    planned = [*parts, *([negative] if spec.is_guided else [])]
    embeds = _encode_texts(resident, spec, {stage.sections: None for part in planned for stage in part.stages})
    return Conditioning(
        tuple(WeightedPrompt(part.weight, _schedule_embeds(part, embeds)) for part in parts),
        _zero_if_empty(resident, spec, _schedule_embeds(negative, embeds)) if spec.is_guided else None,
    )


def _schedule_embeds(part: PlannedSubPrompt, embeds: Mapping[SectionedText, PromptEmbeds]) -> EmbedsSchedule:
    return tuple(ScheduledEmbeds(stage.until_step, embeds[stage.sections]) for stage in part.stages)


def _zero_if_empty(resident: Resident, spec: ImageSpec, schedule: EmbedsSchedule) -> EmbedsSchedule:
    is_zeroed = resident.pipeline.config.get("force_zeros_for_empty_prompt", False)
    if spec.negative_prompt.strip() or not is_zeroed:
        return schedule
    return tuple(ScheduledEmbeds(entry.until_step, _make_zeros(entry.embeds)) for entry in schedule)


def _make_zeros(embeds: PromptEmbeds) -> PromptEmbeds:
    pooled = None if embeds.pooled is None else torch.zeros_like(embeds.pooled)
    return PromptEmbeds(torch.zeros_like(embeds.hidden_states), pooled)


def _encode_texts(
    resident: Resident, spec: ImageSpec, texts: Iterable[SectionedText]
) -> dict[SectionedText, PromptEmbeds]:
    """All texts encoded, and padded to the longest."""
    vectors = {ref.sha256: load_vectors(resident, ref) for ref in spec.embeddings}
    words = _find_embeddings(spec, texts, vectors)
    chunked = {
        text: [split_into_chunks(text, tokenizer, words) for tokenizer in resident.tokenizers] for text in texts
    }
    length = max(len(chunks) for per_encoder in chunked.values() for chunks in per_encoder)
    return {
        text: _join_chunks(
            [
                [_encode_once(resident, spec, number, chunk, vectors) for chunk in _pad_chunks(chunks, length)]
                for number, chunks in enumerate(per_encoder)
            ]
        )
        for text, per_encoder in chunked.items()
    }


def _find_embeddings(
    spec: ImageSpec, texts: Iterable[SectionedText], vectors: Mapping[str, tuple[torch.Tensor, ...]]
) -> dict[str, EmbeddingWord]:
    """The embeddings by each spelling that the texts have of their names: a dash may stand for an underscore."""
    refs = {ref.name: EmbeddingWord(ref.sha256, len(vectors[ref.sha256][0])) for ref in spec.embeddings}
    names = EmbeddingNames(refs)
    fragments = (fragment.text for text in texts for section in text for fragment in section) if refs else ()
    return refs | {mention.spelling: refs[mention.name] for text in fragments for mention in names.mentions(text)}


def _pad_chunks(chunks: Sequence[Chunk], length: int) -> list[Chunk]:
    empty: Chunk = ()
    return [*chunks, *[empty] * (length - len(chunks))]


def _encode_once(
    resident: Resident,
    spec: ImageSpec,
    number: int,
    chunk: Chunk,
    vectors: Mapping[str, tuple[torch.Tensor, ...]],
) -> EncodedChunk:
    layer = choose_layer(resident.family, spec.clip_skip)
    return resident.texts.take(
        (number, layer, resident.loras.text_key, chunk),
        lambda: encode_chunk(
            resident.text_encoders[number],
            resident.tokenizers[number],
            chunk,
            layer,
            vectors={sha256: rows[number] for sha256, rows in vectors.items()},
            device=device_of(resident.pipeline),
        ),
    )


def _join_chunks(per_encoder: Sequence[Sequence[EncodedChunk]]) -> PromptEmbeds:
    """Chunks one after the other, encoders side by side; the pooled text is the last encoder's first chunk's."""
    hidden_states = [torch.cat([chunk.hidden_states for chunk in chunks]) for chunks in per_encoder]
    return PromptEmbeds(torch.cat(hidden_states, dim=-1), per_encoder[-1][0].pooled)
