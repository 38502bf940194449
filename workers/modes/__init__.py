"""How each mode renders a batch: one module a mode, found through one table."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from farm.specs import ImageSpec
from workers.modes import txt2img
from workers.renderer import OnStep

Render = Callable[[Any, Sequence[ImageSpec], OnStep], np.ndarray]
"""(pipeline, specs, on_step) to an array of uint8 of shape (images, height, width, 3)."""

RENDERS: Mapping[str, Render] = {
    "txt2img": txt2img.render,
}
