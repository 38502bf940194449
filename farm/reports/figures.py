"""The farm in figures, as people and programs read it: plans, shares, and how far off estimates were."""

from farm.reports.shapes import FarmReport, Report

_LATE_SECONDS = 10.0


class PlanReport(Report):
    """The last plan of a pool, so many seconds old. `demand` is how many devices all that waits asks for."""

    pool: str
    age_seconds: float
    devices: int = 0
    seated: int = 0
    idle: int = 0
    demand: float = 0.0
    is_saturated: bool = False
    moves: int = 0
    queued: int = 0
    unseated: int = 0
    oldest_seconds: float = 0.0

    @property
    def is_late(self) -> bool:
        """Whether there is no plan any more, as far as workers are concerned."""
        return self.age_seconds > _LATE_SECONDS

    @property
    def in_words(self) -> str:
        """`default: 8 devices, 1 idle; what waits asks for 4.5 devices`, or that there is no plan."""
        if self.is_late:
            return (
                f"{self.pool}: no plan for {self.age_seconds:.0f} s; no keeper leads, workers choose by themselves"
            )
        devices = f"{self.devices} device{'' if self.devices == 1 else 's'}, {self.idle} idle"
        waits = f"; what waits asks for {self.demand:.1f} devices" if self.queued else "; nothing waits"
        several = f"; checkpoints that wait for a device: {self.unseated}" if self.unseated else ""
        return f"{self.pool}: {devices}{waits}{several}"


class ShareReport(Report):
    """What an owner gets of a pool, for a project or without one.

    `rate` is how many devices at a time it may have now, `lag` how many GPU-seconds it is owed (less than nothing:
    owes), `used_seconds` what it was charged altogether.
    """

    owner: str
    project: str | None
    pool: str
    weight: float
    rate: float
    lag: float
    used_seconds: float


class ErrorReport(Report):
    """How far off estimates were: what came, divided by what was expected, in the median and for the worst tenth.

    `within` is the part of them that came within their range.
    """

    jobs: int
    median: float | None
    p90: float | None
    within: float | None

    @property
    def in_words(self) -> str:
        """`12 jobs, 83 % within the range; 1.1 times as long as expected in the median, 1.9 in the worst tenth`."""
        if not self.jobs or self.median is None or self.p90 is None or self.within is None:
            return "no job yet"
        return (
            f"{self.jobs} job{'' if self.jobs == 1 else 's'}, {100 * self.within:.0f} % within the range; "
            f"{self.median:.2g} times as long as expected in the median, {self.p90:.2g} in the worst tenth"
        )


class StatsReport(FarmReport):
    """The farm at a glance, who gets how much of it, and how good its estimates were."""

    plans: list[PlanReport]
    shares: list[ShareReport]
    starts: ErrorReport
    ends: ErrorReport
