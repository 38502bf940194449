"""The state that one plan works on: where each device is, what is left to give out, which seats are given.

It lives within one call of `plan` and is changed by the steps of it, in order. Nothing else here changes
anything.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import sqrt

from farm.dispatch.batches import Batches
from farm.dispatch.classes import BULK, URGENT, Level, Row
from farm.dispatch.demand import Demand
from farm.dispatch.feasible import Feasible
from farm.dispatch.lags import debt_seconds
from farm.dispatch.measured import Loads
from farm.dispatch.planned import SeatReason
from farm.dispatch.policy import Policy
from farm.dispatch.shares import Key
from farm.dispatch.snapshot import Device, Group, Seat

_MOST_BUSY = 0.9


@dataclass(slots=True)
class Board:
    """Devices by number, rows by checkpoint, and what the steps before decided."""

    now: float
    policy: Policy
    loads: Loads
    groups: Mapping[int, Group]
    devices: dict[int, Device]
    feasible: Feasible
    batches: Batches
    demand: Demand
    rows: dict[int, list[Row]]
    """By checkpoint; only checkpoints that have work."""
    owed: dict[Key, float]
    """Lags, less what the seats given by this plan are going to cost."""
    weights: Mapping[Key, float]
    dues: Mapping[Key, float] = field(default_factory=dict)
    debts: Mapping[Key, float] = field(default_factory=dict)
    """What is due to accounts, in devices, and what they used beyond it, in GPU-seconds."""
    wanted: dict[int, float] = field(default_factory=dict)
    slack: Mapping[int, float] = field(default_factory=dict)
    at: dict[int, int | None] = field(default_factory=dict)
    on: dict[int, set[int]] = field(default_factory=dict)
    seats: dict[int, Seat] = field(default_factory=dict)
    reasons: dict[int, SeatReason] = field(default_factory=dict)
    moved: dict[int, int] = field(default_factory=dict)
    """Devices that change their checkpoint by this plan, and to which."""
    stays_until: dict[int, float] = field(default_factory=dict)
    load_budget: float = 0.0
    forced_budget: float = 0.0
    usage: Mapping[int, float] = field(default_factory=dict)
    largest_batch: int = 1
    busy_part: float = 1.0
    """The part of the devices that render something now."""
    usual_class: str = ""
    """The class that most devices are of."""
    soon: list[int] = field(default_factory=list)
    """Devices that are idle or will be soon, in the order in which they are free."""

    def count(self, checkpoint: int) -> int:
        """How many devices are at a checkpoint."""
        devices = self.on.get(checkpoint)
        return len(devices) if devices else 0

    def place(self, device: int, checkpoint: int | None) -> None:
        before = self.at.get(device)
        if before is not None:
            self.on[before].discard(device)
        self.at[device] = checkpoint
        if checkpoint is not None:
            self.on.setdefault(checkpoint, set()).add(device)

    def move(self, device: int, checkpoint: int, reason: SeatReason) -> None:
        """Give a device another checkpoint; it stays for as long as the load, if any, and a batch take."""
        self.place(device, checkpoint)
        self.moved[device] = checkpoint
        self.reasons[device] = reason
        load = self.load_seconds(device, checkpoint)
        if load > 0:
            self.stays_until[device] = self.free_at(device) + load + self.batch_seconds(device, checkpoint)

    def free_at(self, device: int) -> float:
        free_at = self.devices[device].free_at
        return free_at if free_at > self.now else self.now

    def load_seconds(self, device: int, checkpoint: int) -> float:
        """What rendering a checkpoint costs the device before it begins: 0 if it is resident."""
        found = self.devices[device]
        if checkpoint in found.residents:
            return 0.0
        return self.loads.seconds(checkpoint, found.class_, is_cached=checkpoint in found.cached)

    def usual_load(self, checkpoint: int) -> float:
        """What a load costs on most devices, if nothing is cached."""
        return self.loads.seconds(checkpoint, self.usual_class, is_cached=False)

    def batch_seconds(self, device: int, checkpoint: int) -> float:
        """The seconds of one efficient batch of a checkpoint's first row."""
        row = self.rows[checkpoint][0]
        return row.seconds * self.batches.images(row.group, self.devices[device])

    def least_batch(self, most: int) -> int:
        """The smallest batch that leaves a tenth of the devices free, where `most` is a full one.

        Small batches end sooner and take more of the devices: each about as much as one image besides.
        """
        full = (most + 1) / most
        return next((n for n in range(1, most) if self.busy_part * (n + 1) / n / full <= _MOST_BUSY), most)

    def may(self, device: int, checkpoint: int) -> bool:
        """Whether the device may render anything of a checkpoint that is left."""
        kind = self.feasible.type_by_device[device]
        types = self.feasible.types_by_group
        return any(
            row.left and row.devices_left != 0 and kind in types[row.group.id] for row in self.rows[checkpoint]
        )

    def kinds(self, checkpoint: int) -> set[int]:
        """The types of devices that may render something of a checkpoint that is left."""
        types = self.feasible.types_by_group
        groups = {row.group.id for row in self.rows[checkpoint] if row.left and row.devices_left != 0}
        return {kind for group in groups for kind in types[group]}

    def is_in_debt(self, key: Key) -> bool:
        """Whether an account used so much beyond its due that it goes before nobody out of its turn."""
        debt = self.debts.get(key, 0.0)
        return debt > 0 and debt_seconds(debt, self.dues[key]) > self.policy.tolerated_debt_seconds

    def level(self, row: Row) -> Level:
        """At which level a row is served: deadlines of an account in debt wait with its bulk, until they rise."""
        if row.level[0] != URGENT or self.now - row.since > self.policy.rise_seconds:
            return row.level
        return (BULK, -row.priority) if self.is_in_debt(row.key) else row.level

    def surplus(self, checkpoint: int | None) -> float:
        """How many devices a checkpoint has beyond what it should have."""
        if checkpoint is None:
            return float("inf")
        return self.count(checkpoint) - self.wanted.get(checkpoint, 0.0)

    def spare(self, device: int) -> float:
        """How many devices its checkpoint has beyond what it used recently, and what it should have."""
        at = self.at[device]
        if at is None:
            return 1e3
        usage = self.usage.get(at, 0.0)
        return self.count(at) - max(usage + 0.5 * sqrt(usage), self.wanted.get(at, 0.0))

    def missed(self, device: int) -> float:
        """Seconds that are lost if it leaves: its checkpoint will be loaded again, as likely as it is used."""
        return self.policy.missed_seconds * min(1.0, max(0.0, 1.0 - self.spare(device)))


def place_devices(board: Board, interactive: Mapping[int, int]) -> None:
    """Find where each device is: at its seat's checkpoint, else at what it renders, else at what it used last.

    A seat for interactive work is no place: the device goes on with what it did before.
    """
    at, on, groups = board.at, board.on, board.groups
    for number, device in board.devices.items():
        checkpoint = at[number] = _place(device, groups, interactive.get(number))
        if checkpoint is not None:
            devices = on.get(checkpoint)
            if devices is None:
                devices = on[checkpoint] = set()
            devices.add(number)
    ready = board.now + board.policy.soon_seconds
    board.soon = sorted(
        (d for d, device in board.devices.items() if device.free_at <= ready),
        key=lambda d: (max(board.now, board.devices[d].free_at), d),
    )


def _place(device: Device, groups: Mapping[int, Group], interactive: int | None) -> int | None:
    seat, serving = device.seat, device.serving
    group = groups.get(seat.group) if seat is not None and seat.group != interactive else None
    if group is None and serving is not None:
        group = groups.get(serving.group)
    if group is not None:
        return group.checkpoint
    return device.residents[0] if device.residents else None
