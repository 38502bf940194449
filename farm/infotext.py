"""The `parameters` text that AUTOMATIC1111's WebUI writes into images and reads back.

Grammar, as its 1.10 release reads it: the prompt; a line `Negative prompt: ...` unless empty; one last
line of `Key: value` items, where a value with a comma, a colon or a line break is a JSON string.
"""

import json
from collections.abc import Iterator

from farm import __version__
from farm.samplers import SAMPLERS
from farm.specs import ImageSpec


def infotext(spec: ImageSpec, checkpoint_sha256: str) -> str:
    """The parameters text of one image."""
    lines = [spec.prompt]
    if spec.negative_prompt:
        lines.append(f"Negative prompt: {spec.negative_prompt}")
    lines.append(", ".join(f"{key}: {_quoted(value)}" for key, value in _items(spec, checkpoint_sha256)))
    return "\n".join(lines).strip()


def _items(spec: ImageSpec, checkpoint_sha256: str) -> Iterator[tuple[str, str]]:
    """In the WebUI's order. The model hash is the first 10 digits of the sha256, as there."""
    sampler = SAMPLERS[spec.sampler]
    yield "Steps", str(spec.num_inference_steps)
    yield "Sampler", sampler.infotext_name
    if sampler.schedule_type:
        yield "Schedule type", sampler.schedule_type
    yield "CFG scale", str(spec.guidance_scale).removesuffix(".0")
    yield "Seed", str(spec.seed)
    yield "Size", f"{spec.width}x{spec.height}"
    yield "Model hash", checkpoint_sha256[:10]
    yield "Model", spec.checkpoint
    yield "RNG", "CPU"
    yield "Version", f"diffusion-farm {__version__}"


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False) if any(mark in value for mark in ",:\n") else value
