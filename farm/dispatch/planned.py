"""What a plan consists of: seats, what waits and why, shares, and figures."""

from dataclasses import dataclass, field
from enum import StrEnum

from farm.dispatch.snapshot import Carried, Seat, WorkClass


class SeatReason(StrEnum):
    """Why a device has its seat."""

    STAYS = "stays"  # it renders what it rendered
    RESIDENT = "resident"  # it holds the checkpoint
    INTERACTIVE = "interactive"  # somebody is waiting for few images
    DEADLINE = "deadline"  # the slack runs out
    OVERDUE = "overdue"  # it waited for as long as anything may
    SHARE = "share"  # its owner is owed
    DRY = "dry"  # it had nothing else to do


class WaitReason(StrEnum):
    """Why something that is queued is not rendered yet."""

    SEATED = "seated"  # devices are seated on it: it is only a matter of those ahead of it
    RUNS_NEXT = "runs next"  # a device takes it at its next claim
    LOADING = "loading"  # a device is to load its checkpoint
    BUSY = "busy"  # every device that suits is busy with work that goes first
    SHARE = "share"  # its owner has had more than others who wait
    COLD = "cold"  # too little of it to load a checkpoint for yet
    LIMITED = "limited"  # as many devices as its jobs allow are at work
    NO_DEVICE = "no device"  # no device takes work now
    UNSUITED = "unsuited"  # no device is known to suit: all may try


@dataclass(frozen=True, slots=True)
class Outlook:
    """What awaits the queued images of an owner in a group and class: why they wait, and when the first may start.

    The seconds until then are a range from now on; None: nobody can say. `images_per_second` is the pace they
    may expect.
    """

    group: int
    owner: int
    project: int | None
    class_: WorkClass
    reason: WaitReason
    starts_in_low: float | None
    starts_in_high: float | None
    images_per_second: float


@dataclass(frozen=True, slots=True)
class Share:
    """What an account may have: devices at a time (`rate`), and its lag as it is to be stored.

    `asked` is how many devices would end its queue in time: more than `rate` where its share binds it.
    """

    owner: int
    project: int | None
    rate: float
    lag: float
    asked: float = 0.0


@dataclass(frozen=True, slots=True)
class Figures:
    """What the plan looks like from afar.

    `demand` is how many devices all that waits asks for, `is_saturated` whether that is more than there are,
    `moves` how many seats change their checkpoint, `unseated` how many checkpoints wait without a device.
    """

    devices: int = 0
    seated: int = 0
    idle: int = 0
    demand: float = 0.0
    is_saturated: bool = False
    moves: int = 0
    queued: int = 0
    unseated: int = 0
    oldest_seconds: float = 0.0
    load_seconds: float = 0.0
    """What a load is expected to take, on average over what waits."""
    tolerated_lag: float = 0.0
    """The lag in seconds at which a device is moved for fairness."""
    wait_bound: float = 0.0
    """The longest that anything waits to be served, as stated in `farm.dispatch.bounds`, in seconds."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Seats by device, outlooks by group, shares by account, all in the order of their numbers."""

    seats: tuple[Seat, ...] = ()
    outlooks: tuple[Outlook, ...] = ()
    shares: tuple[Share, ...] = ()
    carried: Carried = field(default_factory=Carried)
    figures: Figures = field(default_factory=Figures)
