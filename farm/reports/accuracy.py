"""How good the estimates were: each is kept, and compared with what came."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from sqlalchemy import text
from sqlalchemy.orm import Session

from farm.reports.figures import ErrorReport

_COMPARED = 500
_LEAST_SECONDS = 5.0
"""What is expected sooner counts as so long: to be late by a second is no error of a thousand percent."""

# Seconds from when the estimate was made. Jobs that were called off say nothing of it.
_ENDED = text(
    f"""
    SELECT extract(epoch FROM e.starts_low - e.made_at)::float8 AS starts_low,
           extract(epoch FROM e.starts_high - e.made_at)::float8 AS starts_high,
           extract(epoch FROM e.started_at - e.made_at)::float8 AS started,
           extract(epoch FROM e.ends_low - e.made_at)::float8 AS ends_low,
           extract(epoch FROM e.ends_high - e.made_at)::float8 AS ends_high,
           extract(epoch FROM e.ended_at - e.made_at)::float8 AS ended
    FROM (SELECT * FROM estimates WHERE ended_at IS NOT NULL ORDER BY ended_at DESC LIMIT {_COMPARED}) e
    JOIN jobs j ON j.id = e.job_id
    WHERE j.status IN ('succeeded', 'failed')
    """
)


@dataclass(frozen=True)
class Compared:
    """A range that was expected, and what came: seconds from when it was made."""

    low: float
    high: float
    came: float

    @property
    def ratio(self) -> float:
        return max(self.came, _LEAST_SECONDS) / max((self.low + self.high) / 2, _LEAST_SECONDS)

    @property
    def is_within(self) -> bool:
        """Within the range, as it is told: nobody is told parts of five seconds."""
        return self.low - _LEAST_SECONDS <= self.came <= self.high + _LEAST_SECONDS


def errors(session: Session) -> tuple[ErrorReport, ErrorReport]:
    """How far off the estimates of the last jobs were: of their starts, and of their ends."""
    rows = session.execute(_ENDED).all()
    starts = [(row.starts_low, row.starts_high, row.started) for row in rows]
    ends = [(row.ends_low, row.ends_high, row.ended) for row in rows]
    return summarize(_known(starts)), summarize(_known(ends))


def _known(figures: Sequence[tuple[float | None, float | None, float | None]]) -> list[Compared]:
    return [
        Compared(low, high, came)
        for low, high, came in figures
        if low is not None and high is not None and came is not None
    ]


def summarize(compared: Sequence[Compared]) -> ErrorReport:
    """Median and 90th percentile of what came over what was expected, and how much of it was within the range."""
    if not compared:
        return ErrorReport(jobs=0, median=None, p90=None, within=None)
    ratios = sorted(entry.ratio for entry in compared)
    return ErrorReport(
        jobs=len(compared),
        median=_percentile(ratios, 0.5),
        p90=_percentile(ratios, 0.9),
        within=sum(entry.is_within for entry in compared) / len(compared),
    )


def _percentile(ordered: Sequence[float], part: float) -> float:
    return ordered[max(0, ceil(part * len(ordered)) - 1)]
