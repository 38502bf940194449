"""The counts of lines: appended to by what is frequent, and added up for readers.

A line is a row of `counters`: the tasks of one job and batch key. Its counts are those of the row and its deltas
together. A delta is appended without a look at the row, so claims and publishes of one line wait for nobody.
What changes a row (`shifts`), or takes deltas away (`deltas`), holds the row's lock: so no count becomes negative,
and no change is counted twice.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, func, select, text, union_all
from sqlalchemy.orm import Session
from sqlalchemy.sql.selectable import LateralFromClause

from farm.db.tables.dispatch import Delta
from farm.db.tables.jobs import Counters, Job
from farm.queue.counts.shares import ESTIMATED_SECONDS, WEIGHED_PROJECTS

STATUSES = ("queued", "running", "succeeded", "failed", "cancelled")


class LineKey(NamedTuple):
    """Which line: lines are locked in the order of their keys."""

    job_id: int
    batch_key: str


@dataclass(frozen=True)
class Sample:
    """What a batch of so many images took, for the measured speeds. `images` of it were published together."""

    worker_id: int | None
    images: int
    batch: int | None
    render_seconds: float | None
    load_seconds: float | None


@dataclass(frozen=True)
class Change:
    """A change of a line: of its counts, by status, and of the GPU-seconds that its owner is charged."""

    line: LineKey
    counts: Mapping[str, int] = field(default_factory=dict)
    charged_seconds: float = 0.0
    sample: Sample | None = None


@dataclass(frozen=True)
class Offer:
    """What a claim must know of a line: how much of it is queued, and what an image of it is expected to take."""

    queued: int
    seconds: float


@dataclass(frozen=True)
class Standing:
    """A line after a fold: which account it is charged to, and how many of its tasks are not final."""

    owner_id: int
    project_id: int | None
    pool: str
    group_id: int | None
    left: int


_COUNTS = ", ".join(STATUSES)

_APPEND = text(
    f"""
    INSERT INTO deltas (job_id, batch_key, {_COUNTS}, charged_seconds, worker_id, images, batch, render_seconds,
                        load_seconds)
    SELECT job_id, batch_key, {", ".join(f"coalesce({status}, 0)" for status in STATUSES)}, charged_seconds,
           worker_id, images, batch, render_seconds, load_seconds
    FROM jsonb_to_recordset(CAST(:changes AS jsonb)) AS c(
        job_id bigint, batch_key text, {", ".join(f"{status} integer" for status in STATUSES)},
        charged_seconds float8, worker_id bigint, images integer, batch integer, render_seconds float8,
        load_seconds float8)
    """
)


def append(session: Session, changes: Iterable[Change]) -> None:
    """Append changes, without a lock on anything; those that change nothing are left out."""
    rows = [
        {
            **change.line._asdict(),
            **change.counts,
            "charged_seconds": change.charged_seconds,
            **_sample(change.sample),
        }
        for change in changes
        if change.counts or change.charged_seconds or change.sample
    ]
    if rows:
        session.execute(_APPEND, {"changes": json.dumps(rows)})


def _sample(sample: Sample | None) -> Mapping[str, Any]:
    return asdict(sample) if sample else {}


KEYS = "unnest(CAST(:job_ids AS bigint[]), CAST(:batch_keys AS text[])) AS k(job_id, batch_key)"
"""SQL for the lines that `arrays` names."""

_LOCK = text(
    f"""
    SELECT c.job_id, c.batch_key FROM counters c JOIN {KEYS} USING (job_id, batch_key)
    ORDER BY c.job_id, c.batch_key FOR UPDATE OF c
    """
)
_LOCK_FREE = text(f"{_LOCK.text} SKIP LOCKED")


def lock(session: Session, lines: Collection[LineKey]) -> None:
    """Lock the rows of lines, in the order of their keys."""
    session.execute(_LOCK, arrays(lines)).all()


def lock_free(session: Session, lines: Collection[LineKey]) -> list[LineKey]:
    """Lock those of the lines that nobody else holds; return which."""
    return [LineKey(*row) for row in session.execute(_LOCK_FREE, arrays(lines))]


_ADD = text(
    f"""
    UPDATE counters c SET {", ".join(f"{status} = c.{status} + coalesce(x.{status}, 0)" for status in STATUSES)}
    FROM jsonb_to_recordset(CAST(:counts AS jsonb)) AS x(
        job_id bigint, batch_key text, {", ".join(f"{status} integer" for status in STATUSES)})
    WHERE c.job_id = x.job_id AND c.batch_key = x.batch_key
    RETURNING c.job_id, c.batch_key, c.owner_id,
              (SELECT p.id FROM {WEIGHED_PROJECTS} p WHERE p.id = c.project_id), c.pool, c.group_id,
              c.queued + c.running
    """
)


def add(session: Session, counts: Mapping[LineKey, Mapping[str, int]]) -> Mapping[LineKey, Standing]:
    """Add to the counts of lines, whose rows are locked; return where they stand then."""
    if not counts:
        return {}
    rows = [{**line._asdict(), **added} for line, added in counts.items()]
    updated = session.execute(_ADD, {"counts": json.dumps(rows)})
    return {LineKey(job_id, batch_key): Standing(*rest) for job_id, batch_key, *rest in updated}


_OFFERS = text(
    f"""
    SELECT c.job_id, c.batch_key, c.queued + coalesce(d.queued, 0), {ESTIMATED_SECONDS}
    FROM {KEYS} JOIN counters c USING (job_id, batch_key)
    LEFT JOIN groups g ON g.id = c.group_id
    LEFT JOIN LATERAL (
        SELECT sum(queued)::integer AS queued FROM deltas WHERE job_id = c.job_id AND batch_key = c.batch_key
    ) d ON true
    """
)


def offers(session: Session, lines: Collection[LineKey]) -> Mapping[LineKey, Offer]:
    """How much is queued of each line, deltas included, and what an image of it is expected to take."""
    rows = session.execute(_OFFERS, arrays(lines))
    return {LineKey(job_id, batch_key): Offer(queued, seconds) for job_id, batch_key, queued, seconds in rows}


def counts_of_job() -> LateralFromClause:
    """The counts of a row of jobs, by status and their `total`, to be joined: its lines and deltas, added up.

    That is one look at two ranges of indexes, however many lines the job has, and one moment for both.
    """
    each = union_all(
        *(
            select(*(getattr(table, status) for status in STATUSES)).where(table.job_id == Job.id).correlate(Job)
            for table in (Counters, Delta)
        )
    ).subquery("each")
    sums = [func.coalesce(func.sum(each.c[status]), 0).label(status) for status in STATUSES]
    total = func.coalesce(func.sum(sum((each.c[status] for status in STATUSES[1:]), each.c.queued)), 0)
    return select(*sums, total.label("total")).select_from(each).lateral("counts")


def queued_now() -> ColumnElement[int]:
    """How much of a row of counters is queued, deltas included."""
    appended = (
        select(func.sum(Delta.queued))
        .where(Delta.job_id == Counters.job_id, Delta.batch_key == Counters.batch_key)
        .correlate(Counters)
        .scalar_subquery()
    )
    return Counters.queued + func.coalesce(appended, 0)


_LEFT = text(
    """
    SELECT j.job_id, coalesce((SELECT sum(queued + running) FROM counters WHERE job_id = j.job_id), 0)
                   + coalesce((SELECT sum(queued + running) FROM deltas WHERE job_id = j.job_id), 0)
    FROM unnest(CAST(:job_ids AS bigint[])) AS j(job_id)
    """
)


def left_of(session: Session, job_ids: Collection[int]) -> Mapping[int, int]:
    """How many tasks of each job are not final, as this transaction sees it."""
    return {job_id: int(left) for job_id, left in session.execute(_LEFT, {"job_ids": list(job_ids)})}


def arrays(lines: Iterable[LineKey]) -> dict[str, Sequence[Any]]:
    """The keys of lines as statements take them."""
    lines = list(lines)
    return {"job_ids": [line.job_id for line in lines], "batch_keys": [line.batch_key for line in lines]}
