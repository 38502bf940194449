"""How long a job may take, by what was rendered recently."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from sqlalchemy import select
from sqlalchemy.orm import Session

from farm.db.tables.artifacts import Result
from farm.db.tables.jobs import Attempt, Counters, Task
from farm.db.tables.weights import Checkpoint
from farm.intake.unfold import Unfolded
from farm.spec.modes import pixel_steps, read_spec

# The newest images, whichever job they are of: enough to be typical, few enough to be read at once.
_LOOKED_AT = 300


def seconds(session: Session, groups: Iterable[Unfolded], serving: int) -> float | None:
    """How long so many workers would take for these images.

    By the device time that a family took recently for a pixel's step; loading is not counted. None where a
    family was not rendered recently.
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
