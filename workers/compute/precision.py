"""The precisions that the farm computes in, by the names that settings and records give them."""

from collections.abc import Mapping

import torch

DTYPES: Mapping[str, torch.dtype] = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
NAMES: Mapping[torch.dtype, str] = {dtype: name for name, dtype in DTYPES.items()}


def resolve_precision(wish: str, device: str) -> str:
    """What `auto` means: half precision on a GPU, full on a CPU."""
    if wish != "auto":
        return wish
    return "fp16" if device == "cuda" else "fp32"
