"""When a job would start and end that is not there yet, by how its owner stands in the stored plan of its pool.

The plan says how full the pool is and what each owner gets of it; from there on a job that is to come is estimated
like the queue that it will be: a range, which is kept with the job and compared with what came.
"""

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.orm import Session

from farm.db.clock import is_within_sql
from farm.queue.offers.claimable import is_claimable_sql
from farm.reports.ahead import queued_now_sql
from farm.reports.expected import FASTER, INTERACTIVE_IMAGES, PLAN_SECONDS, SLOWER, Expected

_BATCH_IMAGES = 8
_FIRST_IMAGES = 2
"""So many images of what has not begun count as interactive in a plan."""
_LEAST_RATE = 0.05
"""The owner of the smallest share of a pool is not said to wait for ever."""

_MOST_LINES = 4_000
"""Of an owner with more lines than so many that go first, nobody says when what they submit starts."""

_STANDING = text(
    f"""
    SELECT CAST(p.figures ->> 'devices' AS float8) AS devices,
           coalesce(CAST(p.figures ->> 'demand' AS float8), 0) AS demand,
           coalesce(CAST(p.figures ->> 'idle' AS float8), 0) AS idle,
           coalesce(CAST(p.figures ->> 'is_saturated' AS boolean), false) AS is_saturated,
           u.weight,
           (SELECT coalesce(sum(rate), 0) FROM shares WHERE pool = :pool AND owner_id = u.id)::float8 AS rate,
           (SELECT coalesce(sum(o.weight), 0) FROM users o
            WHERE o.id <> u.id AND o.id IN (SELECT owner_id FROM shares WHERE pool = :pool AND rate > 0.01))::float8
           AS others,
           a.seconds AS ahead_seconds
    FROM plans p CROSS JOIN users u CROSS JOIN LATERAL (
        SELECT coalesce(sum(c.images * coalesce(g.seconds, 1)), 0)::float8 AS seconds, count(*) AS lines
        FROM (
            SELECT c.group_id, {queued_now_sql("c")} AS images
            FROM (SELECT c.job_id, c.batch_key, c.group_id, c.queued FROM counters c
                  WHERE c.pool = :pool AND c.owner_id = u.id AND c.priority >= :priority AND {is_claimable_sql("c")}
                  ORDER BY c.priority DESC, c.job_id LIMIT {_MOST_LINES}) c
        ) c LEFT JOIN groups g ON g.id = c.group_id
    ) a
    WHERE p.pool = :pool AND u.name = :owner AND {is_within_sql("p.planned_at", PLAN_SECONDS)}
      AND a.lines < {_MOST_LINES}
    """
)
# Small jobs of the owner, and the first images of what has not begun: no more of them are read than matter.
_INTERACTIVE = text(
    f"""
    SELECT coalesce(sum(least(c.queued, CASE WHEN c.class <> 'interactive' THEN {_FIRST_IMAGES} END)), 0)::float8
    FROM (
        SELECT c.class, c.queued FROM counters c JOIN users u ON u.id = c.owner_id
        WHERE c.pool = :pool AND u.name = :owner AND {is_claimable_sql("c")} AND c.priority >= :priority
          AND (c.class = 'interactive' OR c.running + c.succeeded + c.failed + c.cancelled = 0)
        LIMIT {INTERACTIVE_IMAGES}
    ) c
    """
)
_KEEP = text(
    """
    INSERT INTO estimates (job_id, starts_low, starts_high, ends_low, ends_high)
    VALUES (:job_id, now() + make_interval(secs => CAST(:starts_low AS float8)),
            now() + make_interval(secs => CAST(:starts_high AS float8)),
            now() + make_interval(secs => CAST(:ends_low AS float8)),
            now() + make_interval(secs => CAST(:ends_high AS float8)))
    """
)


@dataclass(frozen=True)
class Standing:
    """How an owner stands in a pool: how many devices there are, how many all that waits asks for, what is free.

    `rate` is how many devices the owner has by the plan, `others` what all others weigh that have some. `ahead_*`
    is what the owner has queued that goes first; `ahead_interactive` are those images of it that are interactive.
    """

    devices: float
    demand: float
    idle: float
    is_saturated: bool
    weight: float
    rate: float
    others: float
    ahead_seconds: float
    ahead_interactive: float

    @property
    def share(self) -> float:
        """How many devices at a time work at what the owner has queued, if it is enough for so many."""
        if not self.is_saturated:
            return max(1.0, self.rate + self.devices - self.demand)
        fair = self.devices * self.weight / (self.weight + self.others)
        return max(_LEAST_RATE, self.rate or fair)


@dataclass(frozen=True)
class Work:
    """What is asked for. `seconds`: device seconds of all images, None where nothing alike was rendered.

    `load_low` and `load_high`: seconds until a device has the first checkpoint that it needs.
    """

    images: int
    seconds: float | None
    load_low: float
    load_high: float
    is_interactive: bool = False


def read_standing(session: Session, owner: str, pool: str, priority: int) -> Standing | None:
    """How an owner stands, for work of this priority.

    None where nobody plans the pool, it has no device, or the owner has too many lines waiting to be counted.
    """
    keys = {"pool": pool, "owner": owner, "priority": priority}
    row = session.execute(_STANDING, keys).one_or_none()
    if row is None or not row.devices:
        return None
    return Standing(**row._mapping, ahead_interactive=session.execute(_INTERACTIVE, keys).scalar_one())


def expect(standing: Standing, work: Work) -> Expected:
    """A job's range, for an owner who stands so.

    The first images of a job are interactive, unless its owner has many of them waiting already: they start with
    the next device that is free. The rest follows what the owner has queued, at the pace of the owner's share;
    an interactive job has no rest that would.
    """
    share, batch = standing.share, _batch_seconds(work)
    after = 0.0 if standing.ahead_interactive < INTERACTIVE_IMAGES else standing.ahead_seconds / share
    free = 0.0 if standing.idle >= 1 else batch
    starts = (FASTER * after + work.load_low, SLOWER * after + free + work.load_high)
    if work.seconds is None:
        return Expected(*starts)
    at_once = max(1.0, min(share, work.images)) if share >= 1 else share
    if work.is_interactive and standing.ahead_interactive < INTERACTIVE_IMAGES:
        return Expected(*starts, starts[0] + FASTER * work.seconds, starts[1] + SLOWER * work.seconds)
    rest = (standing.ahead_seconds if standing.is_saturated else 0.0) / share + work.seconds / at_once
    first = (work.load_low, free + work.load_high)
    ends = (max(starts[0], first[0]) + FASTER * max(rest - after, 0), first[1] + SLOWER * rest)
    return Expected(*starts, ends[0], max(ends))


def keep(session: Session, job_id: int, expected: Expected) -> None:
    """Keep what is expected of a job that was just inserted, to be compared with what comes."""
    session.execute(_KEEP, {"job_id": job_id, **vars(expected)})


def _batch_seconds(work: Work) -> float:
    """How long a device is busy that is not free now: about as long as with a batch of this job."""
    if not work.seconds:
        return 10.0
    return work.seconds / work.images * min(work.images, _BATCH_IMAGES)
