"""How long a job may take, told from what was rendered of late."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from sqlalchemy import select
from sqlalchemy.orm import Session

from farm.expand import Unfolded
from farm.specs import (
    ImageSpec,
    ImageToImageSpec,
    InpaintSpec,
    OutpaintSpec,
    TextToImageSpec,
    UpscaleSpec,
    read_spec,
)
from farm.tables.artifacts import Result
from farm.tables.jobs import Attempt, Counters, Task
from farm.tables.weights import Checkpoint

# The newest images, whichever job they are of: enough to be typical, few enough to be read at once.
_LOOKED_AT = 300


def seconds(session: Session, groups: Iterable[Unfolded], serving: int) -> float | None:
    """How long so many workers would take for these images.

    By the device time that a family took of late for a pixel's step; loading is not counted. None where a
    family was not rendered of late.
    """
    rates = _rates(session)
    total = 0.0
    for group in groups:
        steps = pixel_steps(group.template) * len(group.seeds)
        if steps and group.checkpoint.family.name not in rates:
            return None
        total += rates.get(group.checkpoint.family.name, 0.0) * steps
    return total / max(1, serving)


def _rates(session: Session) -> Mapping[str, float]:
    """Seconds for a pixel's step, by family."""
    newest = select(Result.task_id, Result.attempt).order_by(Result.task_id.desc()).limit(_LOOKED_AT).subquery()
    query = (
        select(Checkpoint.family, Task.spec, Attempt.gpu_seconds)
        .select_from(newest)
        .join(Attempt, (Attempt.task_id == newest.c.task_id) & (Attempt.number == newest.c.attempt))
        .join(Task, Task.id == newest.c.task_id)
        .join(Counters, (Counters.job_id == Task.job_id) & (Counters.batch_key == Task.batch_key))
        .join(Checkpoint, Checkpoint.id == Counters.checkpoint_id)
    )
    spent: dict[str, float] = defaultdict(float)
    steps: dict[str, float] = defaultdict(float)
    for family, spec, gpu_seconds in session.execute(query):
        # What takes no step tells nothing of how long one takes.
        if gpu_seconds and (done := pixel_steps(read_spec(spec))):
            spent[family] += gpu_seconds
            steps[family] += done
    return {family: spent[family] / steps[family] for family in spent}


def pixel_steps(spec: ImageSpec) -> float:
    """How much there is to denoise for an image: its pixels times its steps, over all its passes."""
    pixels = float(spec.width * spec.height)
    match spec:
        case TextToImageSpec(hires=hires):
            second = 0.0
            if hires:
                width, height = spec.output_size
                second = width * height * (hires.num_inference_steps or spec.num_inference_steps) * hires.strength
            return pixels * spec.num_inference_steps + second
        case UpscaleSpec(upscaler="Lanczos"):
            return 0.0
        case UpscaleSpec():
            overlapping = (spec.tile / (spec.tile - spec.overlap)) ** 2
            return pixels * overlapping * spec.num_inference_steps * spec.strength
        case ImageToImageSpec() | InpaintSpec() | OutpaintSpec():
            return pixels * spec.num_inference_steps * spec.strength
