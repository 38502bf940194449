"""The tokenizers of a checkpoint: its folder's own, or made of CLIP's vocabulary and checked against it."""

from collections.abc import Sequence
from pathlib import Path

from transformers import CLIPTokenizer

from farm.spec.families import Family
from farm.weights.files.header import BadWeights
from workers.ingest.components import Component
from workers.ingest.tokenizers.vocabulary import find_vocabulary

TOKENIZERS = {"text_encoder": "tokenizer", "text_encoder_2": "tokenizer_2"}
_END = "<|endoftext|>"


def write_tokenizers(
    encoders: Sequence[Component], family: Family, own: Path | None, given: Sequence[Path], target: Path
) -> tuple[str, ...]:
    """Write a tokenizer for each text encoder; `own` is the checkpoint's folder. Returns warnings.

    Raises BadWeights where there is no vocabulary, or one that is not the text encoder's.
    """
    warnings: list[str] = []
    for encoder in encoders:
        name = TOKENIZERS[encoder.name]
        if own is not None and _holds_tokenizer(own / name):
            tokenizer = _read(own / name)
        else:
            tokenizer = _make(encoder, family, given)
        tokenizer.model_max_length = encoder.model.config.max_position_embeddings
        if len(tokenizer) > encoder.model.config.vocab_size:
            warnings.append(f"The {name} knows more tokens than its text encoder: prompts with the last ones fail.")
        tokenizer.save_pretrained(target / name)
    return tuple(warnings)


def _holds_tokenizer(folder: Path) -> bool:
    return (folder / "tokenizer.json").is_file() or (folder / "vocab.json").is_file()


def _read(folder: Path) -> CLIPTokenizer:
    try:
        tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:
        # The reader is written in Rust and raises bare exceptions.
        raise BadWeights(f"{folder} is not a tokenizer of CLIP: {error}") from error
    # How it was read is no part of what it is, but would be written with it.
    for name in ("is_local", "local_files_only", "name_or_path", "special_tokens_map_file"):
        tokenizer.init_kwargs.pop(name, None)
    return tokenizer


def _make(encoder: Component, family: Family, given: Sequence[Path]) -> CLIPTokenizer:
    pads_with_end = family.base != "sd2" and encoder.name == "text_encoder"
    vocabulary = find_vocabulary(given)
    expected = encoder.model.config.vocab_size
    tokenizer = vocabulary.tokenizer(
        length=encoder.model.config.max_position_embeddings, pad_token=_END if pads_with_end else "!"
    )
    if len(tokenizer) != expected:
        raise BadWeights(
            f"The vocabulary has {len(tokenizer):,} tokens, and the text encoder {expected:,}: they do not belong "
            "together. Give the tokenizer's folder that belongs to these weights."
        )
    return tokenizer
