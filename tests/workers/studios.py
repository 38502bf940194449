"""Render contexts with small checkpoints, and specs and pictures for them."""

from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from farm.queue.claim import ClaimedCheckpoint
from farm.spec.families import FAMILIES
from farm.spec.image import ImageSpec
from farm.spec.modes import read_spec
from tests.checkpoints import small_pipeline
from tests.fakes import MemoryStore
from workers.canvas.inputs import StoredInputs
from workers.model.loras import Loras
from workers.model.resident import Resident
from workers.model.weights import PlacedWeights
from workers.modes import RENDERS
from workers.sampling.context import RenderContext

STORE = MemoryStore()


@cache
def a_context(family: str = "sd15") -> RenderContext:
    """A render context whose small checkpoint is built once a run."""
    pipeline = small_pipeline(family)
    pipeline.set_progress_bar_config(disable=True)
    checkpoint = ClaimedCheckpoint(1, "small", family, f"{family:x<64}", "nowhere")
    resident = Resident(checkpoint, FAMILIES[family], pipeline, False, PlacedWeights(), Loras(pipeline))
    return RenderContext(resident, StoredInputs(STORE))


def a_spec_of(mode: str, **fields: Any) -> Any:
    """A small spec of a mode, of 64 pixels and 3 steps."""
    settings = {"checkpoint": "small", "prompt": "a lighthouse", "seed": 1, "num_inference_steps": 3}
    return read_spec({"mode": mode, **settings, "sampler": "Euler", "width": 64, "height": 64, **fields})


def draw(context: RenderContext, *specs: ImageSpec) -> list[np.ndarray]:
    return RENDERS[specs[0].mode](context, specs, lambda _step, _steps: None)


def upload(picture: Image.Image) -> str:
    """Keep a picture where render contexts find it; return its sha256."""
    content = BytesIO()
    picture.save(content, "PNG")
    name = sha256(content.getvalue()).hexdigest()
    STORE.put(f"inputs/{name}.png", content.getvalue(), "image/png")
    return name


def a_picture(width: int = 64, height: int = 64, seed: int = 0) -> Image.Image:
    """A smooth picture of many colours, another for each seed."""
    small = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def a_mask(size: tuple[int, int], *boxes: Sequence[int]) -> Image.Image:
    """Black, with white boxes (left, top, right, bottom)."""
    mask = Image.new("L", size)
    for box in boxes:
        mask.paste(255, tuple(box))  # type: ignore[arg-type]  # four numbers
    return mask


def as_pixels(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture.convert("RGB"))
