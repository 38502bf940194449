"""The farm in figures: how it is planned, who gets how much of it, and how good its estimates were."""

from sqlalchemy import text
from sqlalchemy.orm import Session

from farm.reports import accuracy, overview
from farm.reports.figures import PlanReport, ShareReport, StatsReport

_MOST_SHARES = 50

_PLANS = text(
    "SELECT pool, extract(epoch FROM now() - planned_at)::float8 AS age_seconds, figures FROM plans ORDER BY pool"
)
_SHARES = text(
    f"""
    SELECT u.name AS owner, p.name AS project, s.pool, u.weight, s.rate, s.lag, s.used_seconds
    FROM shares s JOIN users u ON u.id = s.owner_id LEFT JOIN projects p ON p.id = s.project_id
    ORDER BY s.rate DESC, s.used_seconds DESC, u.name, p.name LIMIT {_MOST_SHARES}
    """
)


def stats(session: Session) -> StatsReport:
    """All of it; of the shares the largest."""
    starts, ends = accuracy.errors(session)
    return StatsReport(
        **overview.farm(session).model_dump(),
        plans=_plans(session),
        shares=[ShareReport.model_validate(row) for row in session.execute(_SHARES)],
        starts=starts,
        ends=ends,
    )


def _plans(session: Session) -> list[PlanReport]:
    rows = session.execute(_PLANS)
    return [
        PlanReport(**{**row.figures, "pool": row.pool, "age_seconds": max(0.0, row.age_seconds)}) for row in rows
    ]
