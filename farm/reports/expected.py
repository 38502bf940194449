"""When a job is expected to start and end, by the plan as it is stored: ranges, or nothing where nobody can say."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.orm import Session

from farm.db.clock import is_within_sql
from farm.dispatch.planned import WaitReason
from farm.dispatch.snapshot import WorkClass
from farm.queue.offers.claimable import is_claimable_sql
from farm.reports.ahead import queued_now_sql

PLAN_SECONDS = 15.0
"""How long a plan says something: one is made each second."""

FASTER = 0.75
SLOWER = 1.5
"""The work after the first image may take from so much less to so much more than the pace of the plan says."""
INTERACTIVE_IMAGES = 16

_MOST_LINES = 4_000
_FEWEST_LINES = 20
"""So many lines that go first are counted for all lines of a job together, and so many at least for each."""


def _ahead(class_: str, condition: str) -> str:
    """Lines of the same owner and group, in the order of an index: one that is not would be sorted as a whole."""
    return f"""(
                SELECT a.job_id, a.batch_key, a.queued FROM counters a
                WHERE a.group_id = c.group_id AND a.owner_id = c.owner_id AND a.class = '{class_}'
                  AND {condition} AND {is_claimable_sql("a")}
                ORDER BY a.priority DESC, a.job_id LIMIT (SELECT lines FROM most)
            )"""


_GOES_FIRST = ("a.priority > c.priority", "a.priority = c.priority AND a.job_id < c.job_id")
_AHEAD = " UNION ALL ".join(_ahead(class_, condition) for class_ in WorkClass for condition in _GOES_FIRST)

# Of each line of the job: how many images are queued and running, how many of the same owner and group go first
# (NULL where those are of too many lines to be counted), and what the plan expects, from now on: of its class, and
# of interactive work, which its first images may be.
_LINES = text(
    f"""
    WITH most AS MATERIALIZED (
        SELECT greatest({_FEWEST_LINES}, {_MOST_LINES} / greatest(1, count(*))) AS lines
        FROM counters WHERE job_id = :job_id
    )
    SELECT n.queued, n.running, n.succeeded + n.failed + n.cancelled AS ended, c.is_ready AND c.is_open AS is_ready,
           g.seconds, coalesce(o.reason, i.reason) AS reason,
           coalesce(o.images_per_second, i.images_per_second) AS pace,
           o.starts_in_low - extract(epoch FROM now() - o.updated_at)::float8 AS low,
           o.starts_in_high - extract(epoch FROM now() - o.updated_at)::float8 AS high,
           i.starts_in_low - extract(epoch FROM now() - i.updated_at)::float8 AS soon_low,
           i.starts_in_high - extract(epoch FROM now() - i.updated_at)::float8 AS soon_high,
           (SELECT CASE WHEN count(*) < (SELECT lines FROM most)
                        THEN coalesce(sum({queued_now_sql("a")}), 0)::bigint END
            FROM ({_AHEAD}) a) AS ahead
    FROM counters c
    JOIN line_counts n USING (job_id, batch_key)
    LEFT JOIN groups g ON g.id = c.group_id
    LEFT JOIN plans p ON p.pool = c.pool AND {is_within_sql("p.planned_at", PLAN_SECONDS)}
    LEFT JOIN outlooks o ON p.pool IS NOT NULL AND o.group_id = c.group_id AND o.owner_id = c.owner_id
                        AND o.class = c.class
    LEFT JOIN outlooks i ON p.pool IS NOT NULL AND i.group_id = c.group_id AND i.owner_id = c.owner_id
                        AND i.class = 'interactive'
    WHERE c.job_id = :job_id
    ORDER BY c.batch_key LIMIT 1000
    """
)


@dataclass(frozen=True)
class Expected:
    """Seconds from now until the first image starts and the last one ends, as ranges; None: nobody can say.

    What has started has no start to come.
    """

    starts_low: float | None = None
    starts_high: float | None = None
    ends_low: float | None = None
    ends_high: float | None = None

    @property
    def says_something(self) -> bool:
        return self.starts_high is not None or self.ends_high is not None


@dataclass(frozen=True)
class Line:
    """A line of a job, and what the plan expects of its queued images.

    `low` and `high` are seconds until work of its class starts, `soon_low` and `soon_high` until interactive work
    does; `pace` is images a second. `seconds` is what an image takes. `ahead` is how many images go first, None
    where they are of too many lines to be counted.
    """

    queued: int
    running: int
    ended: int
    is_ready: bool
    seconds: float | None = None
    reason: str | None = None
    pace: float | None = None
    low: float | None = None
    high: float | None = None
    soon_low: float | None = None
    soon_high: float | None = None
    ahead: int | None = 0

    @property
    def has_begun(self) -> bool:
        return self.running + self.ended > 0

    @property
    def _is_among_the_first(self) -> bool:
        """Whether so little goes first that its next images are those that the plan speaks of."""
        return self.ahead is not None and self.ahead < INTERACTIVE_IMAGES

    @property
    def why(self) -> str | None:
        """Why it waits. What the plan says of the next images of its group and owner holds for others, if they go
        first."""
        if not self.queued:
            return None
        is_next = self.reason in (WaitReason.RUNS_NEXT, WaitReason.LOADING)
        return WaitReason.SEATED if is_next and not self._is_among_the_first else self.reason

    @property
    def start(self) -> tuple[float, float] | None:
        """When its next image starts."""
        if not self.has_begun and self._is_among_the_first and self.soon_high is not None:
            return max(0.0, self.soon_low or 0.0), max(0.0, self.soon_high)
        if self.high is None or not self.pace or self.ahead is None:
            return None
        after = self.ahead / self.pace
        return max(0.0, self.low or 0.0) + FASTER * after, max(0.0, self.high) + SLOWER * after

    @property
    def end(self) -> tuple[float, float] | None:
        """When its last image ends."""
        if not self.queued:
            return self._end_of_running
        start = self.start
        if start is None or not self.pace:
            return None
        work = self.queued / self.pace
        return start[0] + FASTER * work, start[1] + SLOWER * work

    @property
    def _end_of_running(self) -> tuple[float, float] | None:
        if not self.running:
            return 0.0, 0.0
        return None if self.seconds is None else (0.0, SLOWER * self.running * self.seconds)


@dataclass(frozen=True)
class JobOutlook:
    """What the plan says of a job: why its images wait (names of `farm.dispatch.planned.WaitReason`), and when."""

    reasons: Sequence[str]
    expected: Expected


def read_outlook(session: Session, job_id: int) -> JobOutlook:
    """What the plan says of a job now; nothing where there is no plan, or something of it is not ready."""
    lines = [Line(**row._mapping) for row in session.execute(_LINES, {"job_id": job_id})]
    reasons = [reason for line in lines if (reason := line.why)]
    return JobOutlook(tuple(dict.fromkeys(reasons)), expect(lines))


def expect(lines: Sequence[Line]) -> Expected:
    """When the first of these lines starts and the last one ends."""
    if any(line.queued and not line.is_ready for line in lines):
        return Expected()
    starts = [line.start for line in lines if line.queued]
    ends = [line.end for line in lines if line.queued or line.running]
    known = [end for end in ends if end is not None]
    last = (max(low for low, _ in known), max(high for _, high in known)) if known else (None, None)
    if len(known) < len(ends):
        last = (None, None)
    if any(line.has_begun for line in lines):
        return Expected(None, None, *last)
    first = [start for start in starts if start is not None]
    return Expected(*min(first), *last) if first else Expected(None, None, *last)
