"""The yardstick of `farm bench overhead`: the same pipeline calls in a bare loop, with no farm around them."""

import json
import sys
import time

import torch

from farm.queue.claim import ClaimedCheckpoint
from farm.spec.image import TextToImageSpec
from workers.canvas.inputs import NoInputs
from workers.model.pipelines import Pipelines
from workers.modes.txt2img import render
from workers.sampling.context import RenderContext


def main() -> None:
    """Arguments: checkpoint folder, a spec as JSON, number of images. Prints the seconds the loop took."""
    folder, spec, images = sys.argv[1], TextToImageSpec.model_validate_json(sys.argv[2]), int(sys.argv[3])
    torch.backends.cudnn.benchmark = False
    device = "cuda" if torch.cuda.is_available() else "cpu"
    resident = Pipelines(device, "auto").load(ClaimedCheckpoint(0, "bare", "sd15", "", folder))
    context = RenderContext(resident, NoInputs())
    render(context, [spec], lambda _step, _steps: None)
    started = time.perf_counter()
    for number in range(images):
        render(context, [spec.model_copy(update={"seed": spec.seed + number})], lambda _step, _steps: None)
    sys.stdout.write(json.dumps({"seconds": time.perf_counter() - started}) + "\n")


if __name__ == "__main__":
    main()
