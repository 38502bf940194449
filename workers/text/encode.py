"""The prompts of an image as the conditions of its steps."""

from collections.abc import Iterable, Mapping, Sequence

import torch

from farm.prompts.attention import Section
from farm.prompts.embeddings import EmbeddingNames
from farm.prompts.plan import PlannedSubPrompt, plan, plan_negative
from farm.specs import ImageSpec
from workers.conditions import Conditions, Embeds, Part, Stage, Staged
from workers.embeddings import vectors_of
from workers.pipelines import Resident
from workers.placement import device_of
from workers.text.encoder import Encoded, encode_chunk, layer_of
from workers.text.tokens import Chunk, Word, chunks_of

Text = tuple[Section, ...]
"""The weighed sections of one text."""


def conditions_of(
    resident: Resident, spec: ImageSpec, steps: int, *, first_pass_steps: int | None = None
) -> Conditions:
    """What the UNet is told in a pass of so many steps. `first_pass_steps` is given for a second pass.

    1. The plan: parts joined by AND, each with its stages.
    2. Each distinct text in chunks of 75 tokens, each chunk encoded by itself and kept.
    3. Shorter texts are filled up with chunks of the empty prompt, so that all are equally long.

    An empty negative prompt is zeros where the checkpoint was trained so (SDXL), as in diffusers and the WebUI.
    Raises CannotRender for an embedding that does not fit, or a clip skip that the encoder lacks the layers for.
    """
    parts = plan(spec.prompt, steps, first_pass_steps=first_pass_steps)
    negative = plan_negative(spec.negative_prompt, steps, first_pass_steps=first_pass_steps)
    planned = [*parts, *([negative] if spec.is_guided else [])]
    embeds = _embeds(resident, spec, {stage.sections: None for part in planned for stage in part.stages})
    return Conditions(
        tuple(Part(part.weight, _staged(part, embeds)) for part in parts),
        _negative(resident, spec, _staged(negative, embeds)) if spec.is_guided else None,
    )


def _staged(part: PlannedSubPrompt, embeds: Mapping[Text, Embeds]) -> Staged:
    return tuple(Stage(stage.until_step, embeds[stage.sections]) for stage in part.stages)


def _negative(resident: Resident, spec: ImageSpec, staged: Staged) -> Staged:
    is_zeroed = resident.pipeline.config.get("force_zeros_for_empty_prompt", False)
    if spec.negative_prompt.strip() or not is_zeroed:
        return staged
    return tuple(Stage(stage.until_step, _zeros(stage.embeds)) for stage in staged)


def _zeros(embeds: Embeds) -> Embeds:
    pooled = None if embeds.pooled is None else torch.zeros_like(embeds.pooled)
    return Embeds(torch.zeros_like(embeds.tokens), pooled)


def _embeds(resident: Resident, spec: ImageSpec, texts: Iterable[Text]) -> dict[Text, Embeds]:
    """All texts encoded, and filled up to the longest."""
    vectors = {ref.sha256: vectors_of(resident, ref) for ref in spec.embeddings}
    words = _words(spec, texts, vectors)
    chunked = {text: [chunks_of(text, tokenizer, words) for tokenizer in resident.tokenizers] for text in texts}
    length = max(len(chunks) for per_encoder in chunked.values() for chunks in per_encoder)
    return {
        text: _joined(
            [
                [_encoded(resident, spec, number, chunk, vectors) for chunk in _filled(chunks, length)]
                for number, chunks in enumerate(per_encoder)
            ]
        )
        for text, per_encoder in chunked.items()
    }


def _words(
    spec: ImageSpec, texts: Iterable[Text], vectors: Mapping[str, tuple[torch.Tensor, ...]]
) -> dict[str, Word]:
    """The embeddings by each spelling that the texts have of their names: a dash may stand for an underscore."""
    refs = {ref.name: Word(ref.sha256, len(vectors[ref.sha256][0])) for ref in spec.embeddings}
    names = EmbeddingNames(refs)
    said = (fragment.text for text in texts for section in text for fragment in section) if refs else ()
    return refs | {mention.spelling: refs[mention.name] for text in said for mention in names.mentions(text)}


def _filled(chunks: Sequence[Chunk], length: int) -> list[Chunk]:
    empty: Chunk = ()
    return [*chunks, *[empty] * (length - len(chunks))]


def _encoded(
    resident: Resident,
    spec: ImageSpec,
    number: int,
    chunk: Chunk,
    vectors: Mapping[str, tuple[torch.Tensor, ...]],
) -> Encoded:
    layer = layer_of(resident.family, spec.clip_skip)
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


def _joined(per_encoder: Sequence[Sequence[Encoded]]) -> Embeds:
    """Chunks one after the other, encoders side by side; the pooled text is the last encoder's first chunk's."""
    tokens = [torch.cat([chunk.tokens for chunk in chunks]) for chunks in per_encoder]
    return Embeds(torch.cat(tokens, dim=-1), per_encoder[-1][0].pooled)
