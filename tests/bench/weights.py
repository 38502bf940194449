"""Checkpoints that are small to render with and slow to load, as real ones are.

A load of a real checkpoint takes as long as several of its images. Here the UNet and the VAE are small, so that
hundreds of images take minutes on a CPU; vocabulary and text encoder have the size and the depth that CLIP has.
"""

from collections.abc import Sequence
from itertools import islice, product
from pathlib import Path
from typing import Any

import transformers
from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from tests.checkpoints import small_pipeline

FAMILY = "sd15"

_TOKENS = 49_408
_LAYERS = 12
_WIDTH = 64


def write_checkpoints(folder: Path, names: Sequence[str]) -> None:
    """Write a diffusers folder for each name, each of other weights."""
    transformers.logging.disable_progress_bar()
    tokenizer = _make_tokenizer()
    for seed, name in enumerate(names):
        pipeline = small_pipeline(FAMILY, seed)
        _give_text_encoder(pipeline, tokenizer)
        pipeline.save_pretrained(folder / name, safe_serialization=True)


def _give_text_encoder(pipeline: Any, tokenizer: CLIPTokenizer) -> None:
    pipeline.tokenizer = tokenizer
    pipeline.text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=_WIDTH,
            intermediate_size=4 * _WIDTH,
            projection_dim=_WIDTH,
            num_hidden_layers=_LAYERS,
            num_attention_heads=1,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def _make_tokenizer() -> CLIPTokenizer:
    """CLIP's tokenizer with as many tokens as the published one, which are pairs of letters."""
    letters = sorted(ByteLevel.alphabet())
    single = [*letters, *(f"{letter}</w>" for letter in letters)]
    ends = ["<|startoftext|>", "<|endoftext|>"]
    merges = list(islice(product(letters, single), _TOKENS - len(single) - len(ends)))
    tokens = [*single, *(left + right for left, right in merges), *ends]
    vocab = {token: number for number, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=77)
