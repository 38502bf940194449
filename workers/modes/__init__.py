"""How each mode renders a batch: one module a mode, found through one table."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from farm.specs import ImageSpec
from workers.modes import txt2img

StepCallback = Callable[[int, int], None]
"""Called after each step with (steps done, steps in all); raises to stop the render."""

Render = Callable[[Any, Sequence[ImageSpec], StepCallback], np.ndarray]
"""(pipeline, specs, on_step) to an array of uint8 of shape (images, height, width, 3)."""

RENDERS: Mapping[str, Render] = {
    "txt2img": txt2img.render,
}
