"""Bounds of the numbers in a checkpoint's configs, which a pipeline is built from without further checks.

The bounds are a few times beyond what any published Stable Diffusion has. A scheduler of 100,000,000 timesteps is a
config of a few bytes, and costs each worker gigabytes.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from farm.weights.files.header import BadWeights

TITLES: Mapping[str, str] = {
    "unet": "UNet",
    "vae": "VAE",
    "text_encoder": "text encoder",
    "text_encoder_2": "second text encoder",
    "scheduler": "scheduler",
}
CONFIG_FILES: Mapping[str, str] = {
    part: "scheduler_config.json" if part == "scheduler" else "config.json" for part in TITLES
}


@dataclass(frozen=True)
class NumberBound:
    """The range of a number, or of each number of a list, and the longest list: 0 where no list is allowed."""

    lowest: float
    highest: float
    entries: int = 0

    def __str__(self) -> str:
        return f"{self.lowest:,} to {self.highest:,}"


# A level of a UNet or VAE each.
_LEVELS = 8
_WIDTH = NumberBound(1, 65_536)
_HEADS = NumberBound(1, 1024, _LEVELS)
_TOKEN = NumberBound(-1, 1_000_000, 32)
_FRACTION = NumberBound(0, 1)
_ANY = NumberBound(-10_000, 10_000, 32)
_BOUNDS: Mapping[str, NumberBound] = {
    # UNet and VAE
    "sample_size": NumberBound(1, 16_384, 2),
    "in_channels": NumberBound(1, 64),
    "out_channels": NumberBound(1, 64),
    "latent_channels": NumberBound(1, 64),
    "block_out_channels": NumberBound(1, 16_384, _LEVELS),
    "down_block_types": NumberBound(0, 0, _LEVELS),
    "up_block_types": NumberBound(0, 0, _LEVELS),
    "layers_per_block": NumberBound(1, 8, _LEVELS),
    "transformer_layers_per_block": NumberBound(0, 24, _LEVELS),
    "norm_num_groups": NumberBound(1, 1024),
    "cross_attention_dim": NumberBound(1, 16_384, _LEVELS),
    "attention_head_dim": _HEADS,
    "num_attention_heads": _HEADS,
    "addition_embed_type_num_heads": _HEADS,
    "addition_time_embed_dim": _WIDTH,
    "encoder_hid_dim": _WIDTH,
    "num_class_embeds": _WIDTH,
    "projection_class_embeddings_input_dim": _WIDTH,
    "time_cond_proj_dim": _WIDTH,
    "time_embedding_dim": _WIDTH,
    "conv_in_kernel": NumberBound(1, 15),
    "conv_out_kernel": NumberBound(1, 15),
    "scaling_factor": NumberBound(0.0001, 10_000),
    # text encoders
    "vocab_size": NumberBound(1, 1_000_000),
    "hidden_size": NumberBound(1, 16_384),
    "intermediate_size": _WIDTH,
    "projection_dim": NumberBound(1, 16_384),
    "num_hidden_layers": NumberBound(1, 200),
    "max_position_embeddings": _WIDTH,
    "bos_token_id": _TOKEN,
    "eos_token_id": _TOKEN,
    "pad_token_id": _TOKEN,
    # schedulers
    "num_train_timesteps": NumberBound(1, 10_000),
    "original_inference_steps": NumberBound(1, 1000),
    "steps_offset": NumberBound(0, 1000),
    "beta_start": _FRACTION,
    "beta_end": _FRACTION,
    "trained_betas": NumberBound(0, 1, 10_000),
    "solver_order": NumberBound(1, 4),
    "predictor_order": NumberBound(1, 4),
    "corrector_order": NumberBound(1, 4),
    # diffusers itself writes an infinity here.
    "lambda_min_clipped": NumberBound(-math.inf, math.inf),
}
_MOST_LETTERS = 200
_MOST_NESTED = 3


def check_config(part: str, config: Mapping[str, Any]) -> None:
    """Raise BadWeights, naming the first key of a part's config whose value no pipeline can have."""
    for key, value in config.items():
        bound = _BOUNDS.get(key, _ANY)
        if any(not _is_within(entry, bound) for entry in _flatten(value, bound.entries)):
            kind = f"{bound} is allowed" if key in _BOUNDS else "no pipeline has such a value"
            raise BadWeights(f"The {TITLES[part]}'s config asks for {key} = {_shorten(value)}; {kind}.")


def _flatten(value: object, most: int, depth: int = 0) -> Iterator[object]:
    """The entries of a list and of lists in it; one that is too long or too deep is yielded as it is."""
    if not isinstance(value, list | tuple) or len(value) > most or depth == _MOST_NESTED:
        yield value
    else:
        for entry in value:
            yield from _flatten(entry, most, depth + 1)


def _is_within(value: object, bound: NumberBound) -> bool:
    if value is None or isinstance(value, bool):
        return True
    if isinstance(value, int | float):
        return bound.lowest <= value <= bound.highest
    return isinstance(value, str) and len(value) <= _MOST_LETTERS


def _shorten(value: object) -> str:
    # A number of thousands of digits is one that Python refuses to write out.
    if isinstance(value, int) and abs(value) > 10**30:
        return f"a number of {value.bit_length()} bits"
    text = repr(value[:4] if isinstance(value, list | tuple | str) else value)
    return text if len(text) <= 80 else f"{text[:80]}..."


def find_config_files(folder: Path) -> Mapping[str, Path]:
    """The configs that a diffusers folder has, by their parts."""
    files = {part: folder / part / name for part, name in CONFIG_FILES.items()}
    return {part: file for part, file in files.items() if file.is_file()}
