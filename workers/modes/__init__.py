"""How each mode renders a batch: one module a mode, found through one table.

`workers.diffusion` enters by `RENDERS`. A mode composes what `sampling`, `canvas` and `model` offer; nothing below
knows which mode it works for.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from workers.modes import img2img, inpaint, outpaint, txt2img, upscale
from workers.renderer import OnStep
from workers.sampling.context import RenderContext

Render = Callable[[RenderContext, Sequence[Any], OnStep], list[np.ndarray]]
"""(context, specs of the mode that share a batch key and a conditioning shape, on_step) to an image for each.

Images are uint8 of shape (height, width, 3), in the size of their spec's `output_size`. `on_step` is
called at least once; whatever it raises ends the call.
"""

RENDERS: Mapping[str, Render] = {
    "txt2img": txt2img.render,
    "img2img": img2img.render,
    "inpaint": inpaint.render,
    "outpaint": outpaint.render,
    "upscale": upscale.render,
}
