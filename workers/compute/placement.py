"""Where a pipeline computes, and with how many bits: asked many times a batch.

The answers of diffusers look through every module and parameter, which takes milliseconds each time.
"""

from typing import Any

import torch


def device_of(pipeline: Any) -> torch.device:
    """The device a pipeline's parts compute on, also where offloaded ones do not wait there."""
    hook = getattr(pipeline.unet, "_hf_hook", None)
    if hook is not None:
        return torch.device(hook.execution_device)
    return _first_parameter(pipeline.unet).device


def dtype_of(model: torch.nn.Module) -> torch.dtype:
    """The type of a model's weights."""
    return _first_parameter(model).dtype


def _first_parameter(model: torch.nn.Module) -> torch.nn.Parameter:
    return next(model.parameters())
