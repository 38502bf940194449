"""What a planner knows at one moment: what is queued, what could render it, and who is owed how much.

Times are seconds on the database's clock (Unix time); sizes are bytes. A snapshot is of one pool.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from farm.dispatch.measured import Loads, Speeds
from farm.dispatch.policy import Policy


class WorkClass(StrEnum):
    """What kind of waiting a job can stand."""

    INTERACTIVE = "interactive"
    DEADLINE = "deadline"
    BULK = "bulk"


@dataclass(frozen=True, slots=True)
class Group:
    """What may share a pipeline call, pool-wide: one batch key and batch limit, hence one checkpoint.

    `pixels` are those of the largest pass of one image (None: unknown), `pixel_steps` the sum over its passes of
    pixels times steps (0: unknown).
    """

    id: int
    checkpoint: int
    family: str
    pixels: int | None = None
    batch_limit: int | None = None
    pixel_steps: float = 0.0


@dataclass(frozen=True, slots=True)
class Backlog:
    """How many images of a group are queued and ready now, summed by owner, project, class and priority.

    `oldest_at` is when the oldest of them became ready. `deadline_at` is the earliest of their deadlines: jobs
    with distant deadlines may be rows of their own. `max_devices` is how many devices may render them at a time
    (None: any number): jobs with such a limit are summed apart from those without, and their limits are added.
    """

    group: int
    owner: int
    project: int | None
    class_: WorkClass
    priority: int
    images: int
    oldest_at: float
    deadline_at: float | None = None
    max_devices: int | None = None


@dataclass(frozen=True, slots=True)
class Serving:
    """What a device renders now. Where a batch holds images of several owners, the one with most of them."""

    group: int
    owner: int
    project: int | None
    images: int
    class_: WorkClass = WorkClass.BULK


@dataclass(frozen=True, slots=True)
class Seat:
    """A device's next work, as advice: what it takes at each claim until the next plan.

    `images` is at most how many it takes at once. `next_checkpoint` is what its host should read meanwhile.
    Seats that differ in nothing but the reason are equal: it is not stored.
    """

    device: int
    group: int
    owner: int
    images: int
    next_checkpoint: int | None = None
    reason: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Device:
    """One worker that may take work of the pool.

    `residents` are the checkpoints in its memory, the most recently used first, `slots` how many of them fit
    (at least one); `cached` are those that its host holds. `free_at` is when it ends what it does now, a time
    in the past if it is idle. `barred` are checkpoints that it is excluded from. `too_large` says by family
    from how many pixels on an image is known not to fit. One that is not ready (draining, loading its program)
    gets no seat, and is counted nowhere.
    """

    id: int
    name: str
    host: str
    class_: str
    memory_bytes: int = 0
    residents: tuple[int, ...] = ()
    slots: int = 1
    cached: frozenset[int] = frozenset()
    free_at: float = 0.0
    serving: Serving | None = None
    seat: Seat | None = None
    max_batch: int = 8
    barred: frozenset[int] = frozenset()
    too_large: Mapping[str, int] = field(default_factory=dict)
    is_ready: bool = True


@dataclass(frozen=True, slots=True)
class Account:
    """What an owner is charged to: one for each project that they work in, and one for work without a project.

    `lag` is the fair rate integrated minus all that was charged by now, in GPU-seconds: positive is owed.
    Whatever is in flight is charged already, by an estimate. `running_devices` are those that render for it: of one
    that renders for several accounts, each has its part of the images.
    """

    owner: int
    project: int | None = None
    weight: float = 1.0
    project_weight: float = 1.0
    lag: float = 0.0
    running_devices: float = 0.0


@dataclass(frozen=True, slots=True)
class Carried:
    """What one plan leaves for the next. A leader that starts with nothing recovers all of it within minutes.

    `planned_at` is when the plan before was made (None: there was none). `stays_until` says by device until
    when it is not moved for fairness. `unseated_since` says by checkpoint since when it waits without a device.
    `served_at` says by checkpoint, owner and project when a device was last seated there for them. `usage` says
    by checkpoint how many devices rendered it recently, on average. `interactive` says by device for which
    group it was seated for interactive work. `load_seconds` is what such loads may cost now, `forced_seconds` what
    loads for checkpoints that waited too long may (None: as much as they ever may). `debts` are the GPU-seconds
    that accounts used beyond their due.
    """

    planned_at: float | None = None
    stays_until: Mapping[int, float] = field(default_factory=dict)
    unseated_since: Mapping[int, float] = field(default_factory=dict)
    served_at: Mapping[tuple[int, int, int | None], float] = field(default_factory=dict)
    usage: Mapping[int, float] = field(default_factory=dict)
    interactive: Mapping[int, int] = field(default_factory=dict)
    load_seconds: float | None = None
    forced_seconds: float | None = None
    debts: Mapping[tuple[int, int | None], float] = field(default_factory=dict)

    def after(self, step_seconds: float) -> "Carried":
        """The same after the clock was set ahead by so much, or back: all times are what they would be on it."""
        if not step_seconds:
            return self
        return replace(
            self,
            planned_at=None if self.planned_at is None else self.planned_at + step_seconds,
            stays_until={device: until + step_seconds for device, until in self.stays_until.items()},
            unseated_since={checkpoint: at + step_seconds for checkpoint, at in self.unseated_since.items()},
            served_at={key: at + step_seconds for key, at in self.served_at.items()},
        )


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that a plan is made of."""

    pool: str
    groups: tuple[Group, ...]
    backlogs: tuple[Backlog, ...]
    devices: tuple[Device, ...]
    accounts: tuple[Account, ...]
    speeds: Speeds = field(default_factory=Speeds)
    loads: Loads = field(default_factory=Loads)
    policy: Policy = field(default_factory=Policy)
    carried: Carried = field(default_factory=Carried)
