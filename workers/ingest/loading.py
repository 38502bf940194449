"""The last check of a checkpoint: it is loaded once from where it was written."""

from collections.abc import Mapping
from pathlib import Path

import diffusers
import torch
import transformers

from farm.spec.families import Family
from farm.weights.files.configbounds import TITLES
from farm.weights.files.header import BadWeights


def check(folder: Path, family: Family, dtypes: Mapping[str, torch.dtype]) -> None:
    """Load the pipeline as the workers do, with its weights mapped and not read. Raises BadWeights."""
    diffusers.utils.logging.disable_progress_bar()
    transformers.logging.disable_progress_bar()
    try:
        pipeline = getattr(diffusers, family.pipeline).from_pretrained(
            folder, dtype={**dtypes, "default": torch.float32}, local_files_only=True, use_safetensors=True
        )
    except Exception as error:
        # Whatever it raises, a worker would meet it too.
        raise BadWeights(f"What was written does not load: {str(error)[:300]}") from error
    for name in dtypes:
        for key, weight in getattr(pipeline, name).state_dict().items():
            if weight.is_meta:
                raise BadWeights(f"The {TITLES[name]} is incomplete: {key} is missing.")
