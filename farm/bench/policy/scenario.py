"""What a simulation is made of: devices, owners, and how work arrives."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from random import Random

from farm.dispatch.policy import Policy
from farm.dispatch.snapshot import Account, Group, WorkClass

IMAGE_SECONDS = 1.0
LOAD_SECONDS = 15.0
CACHED_LOAD_SECONDS = 10.0
BATCH = 8
PIXELS, LARGE_PIXELS = 512 * 512, 1024 * 1024
STEPS = 20
DRAIN_SECONDS = 1200.0
"""How much work there is for each device where a run is to drain it."""
ENDLESS = 50_000_000
"""Images of a job that never ends."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """One job as it arrives."""

    at: float
    group: int
    owner: int
    images: int
    class_: WorkClass = WorkClass.BULK
    priority: int = 50
    deadline_at: float | None = None
    max_devices: int | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """A kind of device, and how many of it there are."""

    count: int
    class_: str = "gpu"
    memory_bytes: int = 0
    slots: int = 1
    too_large: int | None = None
    """From how many pixels on an image does not fit."""


Arrivals = Callable[[Random, "Scenario"], Iterator[Submitted]]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One row of the table."""

    name: str
    made: tuple[Made, ...]
    groups: tuple[Group, ...]
    accounts: tuple[Account, ...]
    arrivals: Arrivals
    hours: float = 1.0
    warm_seconds: float = 600.0
    policy: Policy = field(default_factory=Policy)
    dying: float = 0.0
    """The part of the devices that die for good, at times spread over the run."""
    estimate_error: float = 0.0
    """By what part the seconds of each group are misjudged at most, either way."""
    has_shared_disks: bool = False
    """Whether the devices of a host read weights one after another."""
    left_out: frozenset[int] = frozenset()
    """Owners whose waits are not counted: they asked for more than is promised."""
    watched: int | None = None
    """The owner whose part of the device time is shown, if it is one that matters."""
    is_drain: bool = False
    """Whether the run ends when all is rendered."""

    @property
    def devices(self) -> int:
        return sum(made.count for made in self.made)

    def of(self, **changes: object) -> "Scenario":
        return replace(self, **changes)  # type: ignore[arg-type]  # the caller's names are the fields'


def checkpoints(count: int, *, pixels: int = PIXELS, first: int = 1) -> tuple[Group, ...]:
    """One group for each checkpoint, with images of a second."""
    return tuple(
        Group(n, n, "sd15", pixels=pixels, pixel_steps=float(pixels * STEPS)) for n in range(first, first + count)
    )


def owners(count: int, weights: Iterable[float] = ()) -> tuple[Account, ...]:
    found = dict(enumerate(weights, start=1))
    return tuple(Account(n, weight=found.get(n, 1.0)) for n in range(1, count + 1))


def endless(random: Random, scenario: Scenario) -> Iterator[Submitted]:
    """Each owner has a checkpoint of their own, and more work than ever ends."""
    for account, group in zip(scenario.accounts, scenario.groups, strict=True):
        yield Submitted(0.0, group.id, account.owner, ENDLESS)


def zipf(count: int) -> list[float]:
    """Cumulated popularity, the first the most popular."""
    total, sums = 0.0, []
    for rank in range(1, count + 1):
        total += 1.0 / rank
        sums.append(total)
    return sums


def mixed(
    load: float,
    *,
    interactive: float = 0.1,
    bulk_images: float = 40.0,
    deadlines: float = 0.0,
    priorities: bool = False,
) -> Arrivals:
    """Jobs of all owners over checkpoints of unequal popularity, at a part of what the devices can render."""

    def arrive(random: Random, scenario: Scenario) -> Iterator[Submitted]:
        work = load * scenario.devices / IMAGE_SECONDS
        small = work * interactive / 2.5
        large = work * (1 - interactive) / bulk_images
        sums, ids = zipf(len(scenario.groups)), [group.id for group in scenario.groups]
        names = [account.owner for account in scenario.accounts]
        now = 0.0
        while True:
            now += random.expovariate(small + large)
            is_small = random.random() < small / (small + large)
            group = random.choices(ids, cum_weights=sums)[0]
            owner = random.choice(names)
            if is_small:
                yield Submitted(now, group, owner, random.randint(1, 4), WorkClass.INTERACTIVE)
                continue
            images = 1 + int(random.expovariate(1 / bulk_images))
            priority = random.choice((20, 50, 50, 50, 80)) if priorities else 50
            if random.random() < deadlines:
                slack = 300 + random.expovariate(1 / 900)
                yield Submitted(now, group, owner, images, WorkClass.DEADLINE, priority, now + slack)
            else:
                yield Submitted(now, group, owner, images, priority=priority)

    return arrive
