"""What came of a run, read from the farm itself: how long work waited, and what each owner got."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.orm import Session

from farm.bench.fleet.figures.fairness import Deviation, deviation
from farm.bench.fleet.figures.samples import quantile

_WAITS = text(
    """
    SELECT c.class, extract(epoch FROM a.started_at - greatest(j.created_at, to_timestamp(:began)))::float8
    FROM attempts a JOIN tasks t ON t.id = a.task_id JOIN jobs j ON j.id = t.job_id
    JOIN counters c ON c.job_id = t.job_id AND c.batch_key = t.batch_key
    WHERE a.number = 1
    """
)
# Of the first half: later whoever wanted less has all of it.
_GOT = text(
    """
    WITH span AS (SELECT min(started_at) AS began, max(ended_at) AS ended FROM attempts WHERE outcome = 'succeeded')
    SELECT j.owner_id, sum(a.gpu_seconds) FILTER (WHERE a.ended_at < began + (ended - began) / 2),
           sum(a.gpu_seconds)
    FROM span CROSS JOIN attempts a JOIN tasks t ON t.id = a.task_id JOIN jobs j ON j.id = t.job_id
    GROUP BY j.owner_id
    """
)


@dataclass(frozen=True)
class Waits:
    """Seconds from submit to the first claim, of the images of a class."""

    images: int
    p50: float
    p95: float
    p99: float
    longest: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Waits":
        p50, p95, p99, longest = (quantile(seconds, part) for part in (0.5, 0.95, 0.99, 1.0))
        return cls(len(seconds), p50, p95, p99, longest)


def read_waits(session: Session, began: float) -> Mapping[str, Waits]:
    """The waits by class. What lay there before waited from `began` on, a Unix time."""
    found: dict[str, list[float]] = defaultdict(list)
    for work_class, seconds in session.execute(_WAITS, {"began": began}):
        found[work_class].append(seconds)
    return {work_class: Waits.of(seconds) for work_class, seconds in sorted(found.items())}


def read_deviation(session: Session) -> Deviation:
    """How far owners were from their fair share in the first half of the run, when most of them had work."""
    rows = session.execute(_GOT).all()
    return deviation({owner: got or 0.0 for owner, got, _ in rows}, {owner: wanted for owner, _, wanted in rows})
