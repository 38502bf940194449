"""Text to image."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from farm.specs import TextToImageSpec
from workers.samplers import sampling


def render(pipeline: Any, specs: Sequence[TextToImageSpec], on_step: Callable[[int, int], None]) -> np.ndarray:
    """Render specs of one batch key in one call.

    1. A fresh scheduler; one CPU generator per image, so that noise depends on the seed alone.
    2. The pipeline, with a guidance scale per image.
    3. To 8 bits on the device: a quarter of the bytes to copy.

    Returns uint8 of shape (images, height, width, 3). Whatever `on_step` raises ends the call.
    """
    first = specs[0]
    with sampling(pipeline, first.sampler):
        images = pipeline(
            prompt=[spec.prompt for spec in specs],
            negative_prompt=[spec.negative_prompt for spec in specs] if first.is_guided else None,
            width=first.width,
            height=first.height,
            num_inference_steps=first.num_inference_steps,
            guidance_scale=_guidance(specs, pipeline),
            generator=[torch.Generator("cpu").manual_seed(spec.seed) for spec in specs],
            callback_on_step_end=_step_callback(on_step, first.num_inference_steps),
            callback_on_step_end_tensor_inputs=[],
            output_type="pt",
        ).images
    return to_uint8(images)


def _guidance(specs: Sequence[TextToImageSpec], pipeline: Any) -> float | torch.Tensor:
    """One number where all agree; else a tensor in the UNet's own dtype, lest it promote the latents."""
    scales = [spec.guidance_scale for spec in specs]
    if len(set(scales)) == 1:
        return scales[0]
    return torch.tensor(scales, dtype=pipeline.unet.dtype, device=pipeline.device).view(-1, 1, 1, 1)


def _step_callback(on_step: Callable[[int, int], None], steps: int) -> Callable[..., dict[str, Any]]:
    def after_step(_pipeline: Any, index: int, _timestep: Any, _tensors: dict[str, Any]) -> dict[str, Any]:
        on_step(index + 1, steps)
        return {}

    return after_step


def to_uint8(images: torch.Tensor) -> np.ndarray:
    """From a float tensor (images, 3, height, width) in 0..1 to uint8 of shape (images, height, width, 3)."""
    scaled = (images.float() * 255).round().clamp(0, 255).to(torch.uint8)
    return scaled.permute(0, 2, 3, 1).cpu().numpy()
