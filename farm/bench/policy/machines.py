"""Simulated devices and hosts: what is resident, what is cached, how long a load takes."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

from farm.bench.policy.queues import Part
from farm.bench.policy.scenario import BATCH, CACHED_LOAD_SECONDS, LOAD_SECONDS, Scenario
from farm.dispatch.snapshot import Device, Seat, Serving

_DEVICES_A_HOST = 8
_CACHED_CHECKPOINTS = 24


@dataclass(slots=True, eq=False)
class Host:
    """Keeps the weights that were read last, and reads one after another where its disk is shared."""

    name: str
    is_shared: bool
    cached: OrderedDict[int, float] = field(default_factory=OrderedDict)
    """By checkpoint, when it is read whole."""
    disk_free_at: float = 0.0
    names: frozenset[int] = frozenset()

    def read(self, checkpoint: int, now: float) -> float:
        """Read a checkpoint unless that was done; return when it is in memory."""
        if checkpoint not in self.cached:
            begins = max(now, self.disk_free_at) if self.is_shared else now
            self.disk_free_at = begins + LOAD_SECONDS - CACHED_LOAD_SECONDS
            self.cached[checkpoint] = self.disk_free_at
            if len(self.cached) > _CACHED_CHECKPOINTS:
                self.cached.popitem(last=False)
            self.names = frozenset(self.cached)
        else:
            self.cached.move_to_end(checkpoint)
        return self.cached[checkpoint]


@dataclass(slots=True, eq=False)
class Machine:
    """One device. `parts` is what it renders now; `free_at` when it expects to end, `ends_at` when it does."""

    id: int
    host: Host
    class_: str
    memory_bytes: int
    slots: int
    too_large: Mapping[str, int] = field(default_factory=dict)
    residents: tuple[int, ...] = ()
    parts: list[Part] = field(default_factory=list)
    group: int = 0
    seat: Seat | None = None
    free_at: float = 0.0
    ends_at: float = 0.0
    began_at: float = 0.0
    load_seconds: float = 0.0
    charged: float = 0.0
    serial: int = 0
    is_alive: bool = True
    seen: Device | None = None
    projects: Mapping[int, int | None] = field(default_factory=dict)

    def load(self, checkpoint: int, now: float) -> float:
        """Make a checkpoint resident; return the seconds that this takes."""
        if checkpoint in self.residents:
            self.residents = (checkpoint, *(c for c in self.residents if c != checkpoint))
            return 0.0
        self.residents = (checkpoint, *self.residents[: self.slots - 1])
        return max(0.0, self.host.read(checkpoint, now) - now) + CACHED_LOAD_SECONDS

    def read(self) -> Device:
        """The device as the planner sees it; made again only after it changed."""
        if self.seen is None or self.seen.cached is not self.host.names:
            serving = None
            if self.parts:
                job, _ = max(self.parts, key=lambda part: part[1])
                s = job.submitted
                serving = Serving(
                    self.group, s.owner, self.projects.get(s.owner), sum(n for _, n in self.parts), s.class_
                )
            self.seen = Device(
                id=self.id,
                name=f"device-{self.id}",
                host=self.host.name,
                class_=self.class_,
                memory_bytes=self.memory_bytes,
                residents=self.residents,
                slots=self.slots,
                cached=self.host.names,
                free_at=self.free_at,
                serving=serving,
                seat=self.seat,
                max_batch=BATCH,
                too_large=self.too_large,
            )
        return self.seen


def build(scenario: Scenario) -> dict[int, Machine]:
    """The devices of a scenario, of each kind in turn, eight to a host."""
    machines: dict[int, Machine] = {}
    projects = {account.owner: account.project for account in scenario.accounts}
    for made in scenario.made:
        for n in range(made.count):
            number = len(machines) + 1
            if n % _DEVICES_A_HOST == 0:
                host = Host(f"host-{number}", scenario.has_shared_disks)
            machines[number] = Machine(
                number,
                host,
                made.class_,
                made.memory_bytes,
                made.slots,
                {} if made.too_large is None else {"sd15": made.too_large},
                projects=projects,
            )
    return machines
