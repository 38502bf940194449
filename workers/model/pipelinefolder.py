"""Reads a diffusers folder into a pipeline, and says beforehand which files and how many bytes that takes."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, StableDiffusionXLPipeline
from safetensors import SafetensorError

from farm.errors import RenderError
from farm.spec.families import Family

# What diffusers, transformers and safetensors raise for files that are missing, cut short or do not fit.
BROKEN_FILES = (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError)

_CLASSES: Mapping[str, Any] = {
    "StableDiffusionPipeline": StableDiffusionPipeline,
    "StableDiffusionXLPipeline": StableDiffusionXLPipeline,
}
# Components that old folders name and nothing here needs.
_UNUSED = {"feature_extractor": None, "image_encoder": None}
_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "StableDiffusionPipeline": {**_UNUSED, "safety_checker": None, "requires_safety_checker": False},
    "StableDiffusionXLPipeline": {**_UNUSED, "add_watermarker": False},
}
# As safetensors bounds it.
_LONGEST_HEADER = 100_000_000
_COMPONENTS = ("unet", "vae", "text_encoder", "text_encoder_2")


def read_pipeline(folder: Path, family: Family, *, dtype: torch.dtype, vae_dtype: torch.dtype) -> Any:
    """The pipeline of a folder, in the host's memory. Raises one of BROKEN_FILES."""
    return _CLASSES[family.pipeline].from_pretrained(
        folder,
        dtype={"vae": vae_dtype, "default": dtype},
        local_files_only=True,
        # A worker opens no pickle: what takes weights in does that, in a process that can do little else.
        use_safetensors=True,
        **_OPTIONS[family.pipeline],
    )


def read_vae_tensors(folder: Path) -> Mapping[str, torch.Tensor]:
    """The VAE's weights as its file has them."""
    vae = AutoencoderKL.from_pretrained(
        folder, subfolder="vae", dtype=torch.float32, local_files_only=True, use_safetensors=True
    )
    tensors: Mapping[str, torch.Tensor] = vae.state_dict()
    return tensors


def list_weights(folder: Path) -> list[Path]:
    """The files that `read_pipeline` reads weights from; those of a variant (`model.fp16.safetensors`) are not."""
    found = (path for part in _COMPONENTS for path in sorted((folder / part).glob("*.safetensors")))
    return [path for path in found if "." not in path.stem]


def estimate_bytes(folder: Path, dtype: torch.dtype) -> int:
    """What a folder's weights take in this type, by the headers of its files; 0 where they cannot be read."""
    try:
        return sum(_count_numbers(path) for path in list_weights(folder)) * dtype.itemsize
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        # Reading it says what is wrong with it.
        return 0


def _count_numbers(path: Path) -> int:
    """How many numbers a safetensors file holds.

    The header is 8 bytes of length and so many of JSON: https://github.com/huggingface/safetensors#format
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > _LONGEST_HEADER:
            raise ValueError(f"a header of {length} bytes")
        header = json.loads(file.read(length))
    shapes = (entry["shape"] for name, entry in header.items() if name != "__metadata__")
    return sum(torch.Size(shape).numel() for shape in shapes)


def check_pipeline(pipeline: Any, name: str, family: Family) -> None:
    """Refuse what diffusers loads without an error and what would fail at the first call, or ignore prompts."""
    tokenizers = present(pipeline, "tokenizer", "tokenizer_2")
    encoders = present(pipeline, "text_encoder", "text_encoder_2")
    if any(len(own) < encoder.config.vocab_size for own, encoder in zip(tokenizers, encoders, strict=True)):
        # Where files are missing transformers makes an empty tokenizer, of which every prompt is the same.
        raise RenderError(f"Checkpoint {name!r} does not load: its tokenizer has no vocabulary.")
    channels = pipeline.unet.config.in_channels
    if channels != family.unet_channels:
        raise RenderError(
            f"Checkpoint {name!r} does not load: its UNet takes {channels} channels, "
            f"and the family {family.name} has {family.unet_channels}."
        )


def present(pipeline: Any, *names: str) -> list[Any]:
    """Those of a pipeline's parts that it has."""
    return [part for part in (getattr(pipeline, name, None) for name in names) if part is not None]
