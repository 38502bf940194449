"""Postgres' clock, by which all times are kept: it may be set, ahead or back, and differs from host to host.

A clock is set by NTP, when a virtual machine is resumed, and when another host takes Postgres over.
"""

import time
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.orm import Session

AHEAD_SECONDS = 10.0
"""What lies further ahead was written before the clock was set back."""

_LEAST_STEP_SECONDS = 0.5
"""What differs by less is how clocks drift, and is made up for with the next look."""

_NOW = text("SELECT extract(epoch FROM now())::float8")


def is_within_sql(at: str, seconds: float | str) -> str:
    """SQL for whether a time is at most so many seconds ago. One that lies ahead is not: the clock was set back."""
    return (
        f"{at} BETWEEN now() - make_interval(secs => {seconds}) AND now() + make_interval(secs => {AHEAD_SECONDS})"
    )


def read_now(session: Session) -> float:
    """When this transaction began, on Postgres' clock: seconds of Unix time."""
    now: float = session.execute(_NOW).scalar_one()
    return now


@dataclass(frozen=True)
class Moment:
    """Postgres' clock said `now` at some time from `earliest` to `latest` on this process's monotonic clock."""

    now: float
    earliest: float
    latest: float


class ClockWatch:
    """Notices that Postgres' clock was set: between two looks it must advance as the clock of this process does."""

    def __init__(self) -> None:
        self._last: Moment | None = None

    def look(self, session: Session) -> float:
        """By how many seconds the clock was set ahead since the last look, negative for back; 0 the first time.

        Call it before anything else in a transaction: that one's `now()` is what it judges.
        """
        earliest = time.monotonic()
        return self.compare(Moment(read_now(session), earliest, time.monotonic()))

    def compare(self, moment: Moment) -> float:
        """The same, of a moment that was read: at least so many seconds, however long the reading took."""
        last, self._last = self._last, moment
        if last is None:
            return 0.0
        advanced = moment.now - last.now
        least, most = moment.earliest - last.latest, moment.latest - last.earliest
        step = advanced - min(max(advanced, least), most)
        return step if abs(step) >= _LEAST_STEP_SECONDS else 0.0
