"""How long a job may take, told from what was rendered of late."""

from collections.abc import Iterable, Mapping

from sqlalchemy import text
from sqlalchemy.orm import Session

from farm.expand import Unfolded
from farm.specs import ImageSpec

# The newest images, whichever job they are of: enough to be typical, few enough to be read at once.
_RATES = text(
    """
    SELECT c.family, sum(a.gpu_seconds) / sum(
        (t.spec ->> 'width')::double precision * (t.spec ->> 'height')::double precision
        * (t.spec ->> 'num_inference_steps')::double precision
    )
    FROM (SELECT task_id, attempt FROM results ORDER BY task_id DESC LIMIT 500) r
    JOIN attempts a ON a.task_id = r.task_id AND a.number = r.attempt
    JOIN tasks t ON t.id = r.task_id
    JOIN counters k ON k.job_id = t.job_id AND k.batch_key = t.batch_key
    JOIN checkpoints c ON c.id = k.checkpoint_id
    WHERE a.gpu_seconds > 0
    GROUP BY c.family
    """
)


def seconds(session: Session, groups: Iterable[Unfolded], serving: int) -> float | None:
    """How long so many workers would take for these images.

    By the device time that a pixel took for a step of late, for each family; loading is not counted. None
    where a family was not rendered of late.
    """
    rates: Mapping[str, float] = {family: float(rate) for family, rate in session.execute(_RATES)}
    total = 0.0
    for group in groups:
        family = group.checkpoint.family.name
        if family not in rates:
            return None
        total += rates[family] * _work(group.template) * len(group.seeds)
    return total / max(1, serving)


def _work(spec: ImageSpec) -> float:
    """Pixels times steps."""
    return float(spec.width) * spec.height * spec.num_inference_steps
