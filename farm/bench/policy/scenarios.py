"""The scenarios that a policy is judged by, by name."""

from collections.abc import Callable, Iterator
from random import Random

from farm.bench.policy.gamed import invented_deadlines, single_images
from farm.bench.policy.scenario import (
    DRAIN_SECONDS,
    IMAGE_SECONDS,
    LARGE_PIXELS,
    Made,
    Scenario,
    Submitted,
    checkpoints,
    endless,
    mixed,
    owners,
)
from farm.dispatch.snapshot import Account, WorkClass

GIGABYTE = 10**9


def _endless(name: str, devices: int, count: int, **more: object) -> Scenario:
    base = Scenario(name, (Made(devices),), checkpoints(count), owners(count), endless)
    return base.of(**more) if more else base


def _weighted(name: str, devices: int) -> Scenario:
    return _endless(name, devices, 3, accounts=owners(3, (1.0, 2.0, 4.0)))


def _two_sizes() -> Scenario:
    """Half of the devices are small, and half of the owners need large ones."""
    made = (Made(16, "small", 24 * GIGABYTE, too_large=LARGE_PIXELS), Made(16, "large", 80 * GIGABYTE))
    groups = (*checkpoints(2), *checkpoints(2, pixels=LARGE_PIXELS, first=3))
    return Scenario("24 and 80 GB, images that only 80 GB can render", made, groups, owners(4), endless)


def _flood(name: str, slots: int) -> Scenario:
    """One owner with 100,000 images of 20 checkpoints beside small jobs of others."""

    def arrive(random: Random, scenario: Scenario) -> Iterator[Submitted]:
        for group in scenario.groups[:20]:
            yield Submitted(0.0, group.id, 1, 5_000 * (4 if scenario.hours > 0.6 else 1))
        now = 0.0
        while True:
            now += random.expovariate(1.0)
            group = random.choice(scenario.groups)
            images = random.randint(1, 24)
            yield Submitted(now, group.id, random.randint(2, 20), images)

    return Scenario(name, (Made(64, slots=slots),), checkpoints(24), owners(20), arrive)


def _newcomer(random: Random, scenario: Scenario) -> Iterator[Submitted]:
    """The second owner comes after 20 minutes."""
    yield Submitted(0.0, 1, 1, 10**7)
    yield Submitted(1200.0, 2, 2, 10**7)


def _cold_interactive(name: str, slots: int) -> Scenario:
    """Interactive work on eight checkpoints over eight devices that are busy with the bulk of two others."""

    def arrive(random: Random, scenario: Scenario) -> Iterator[Submitted]:
        for group in scenario.groups[:2]:
            yield Submitted(0.0, group.id, group.id, 10**7)
        now = 0.0
        while True:
            now += random.expovariate(1 / 15)
            group = random.choice(scenario.groups[2:])
            yield Submitted(now, group.id, random.randint(3, 6), random.randint(1, 4), WorkClass.INTERACTIVE)

    return Scenario(name, (Made(8, slots=slots),), checkpoints(10), owners(6), arrive)


def _many_first_images(random: Random, scenario: Scenario) -> Iterator[Submitted]:
    """One owner submits 10,000 one-image interactive jobs; the others have bulk, and small jobs now and then."""
    yield Submitted(0.0, 1, 1, 10**7)
    yield Submitted(0.0, 2, 2, 10**7)
    for n in range(10_000):
        yield Submitted(600.0, 3 + n % 4, 3, 1, WorkClass.INTERACTIVE)
    now = 600.0
    while True:
        now += random.expovariate(1 / 10)
        yield Submitted(now, random.randint(1, 6), 4, random.randint(1, 4), WorkClass.INTERACTIVE)


def _priorities(random: Random, scenario: Scenario) -> Iterator[Submitted]:
    """Endless work of low priority under a stream of higher ones, each on a checkpoint of its own."""
    yield Submitted(0.0, 1, 1, 10**7, priority=20)
    yield Submitted(0.0, 2, 2, 10**7, priority=50)
    now = 0.0
    while True:
        now += random.expovariate(1 / 60)
        yield Submitted(now, 3, 3, 1 + int(random.expovariate(1 / 400)), priority=80)


def _projects() -> Scenario:
    """Two projects, one of a single owner and one of three, and an owner beside them."""
    accounts = (
        Account(1, 1),
        *(Account(n, 2, project_weight=2.0) for n in (2, 3, 4)),
        Account(5),
    )
    return Scenario(
        "projects of weights 1 and 2 beside one owner, 32", (Made(32),), checkpoints(5), accounts, endless
    )


def _drain(random: Random, scenario: Scenario) -> Iterator[Submitted]:
    """About 20 minutes of work for all devices, there at once."""
    work = int(DRAIN_SECONDS / IMAGE_SECONDS) * scenario.devices
    while work > 0:
        images = 1 + int(random.expovariate(1 / 120))
        group = random.choices(scenario.groups, weights=[1 / n for n in range(1, len(scenario.groups) + 1)])[0]
        yield Submitted(0.0, group.id, random.choice(scenario.accounts).owner, images)
        work -= images


def _large(name: str, load: float, *, devices: int = 1000, groups: int = 200, **more: float | bool) -> Scenario:
    arrivals = mixed(load, **more)  # type: ignore[arg-type]  # rates and one flag
    return Scenario(name, (Made(devices),), checkpoints(groups), owners(100), arrivals, hours=0.5)


def drain(devices: int, *, dying: float) -> Scenario:
    name = f"drain, {dying:.0%} of the devices die"
    made = (Made(devices),)
    return Scenario(
        name, made, checkpoints(40), owners(20), _drain, warm_seconds=0.0, dying=dying, is_drain=True, hours=0.5
    ).of(hours=2.0)


SCENARIOS: dict[str, Callable[[], Scenario]] = {
    "two-8": lambda: _endless("2 owners, a checkpoint each, 8 devices", 8, 2),
    "two-32": lambda: _endless("2 owners, a checkpoint each, 32 devices", 32, 2),
    "two-64": lambda: _endless("2 owners, a checkpoint each, 64 devices", 64, 2),
    "eight-64": lambda: _endless("8 owners, a checkpoint each, 64 devices", 64, 8),
    "eight-4": lambda: _endless("8 owners, a checkpoint each, 4 devices", 4, 8),
    "eight-60": lambda: _endless("8 owners, a checkpoint each, 60 devices", 60, 8),
    "eight-64-dying": lambda: _endless("8 owners, 64 devices, 5 % of them die", 64, 8, dying=0.05),
    "weights-8": lambda: _weighted("weights 1:2:4, 8 devices", 8),
    "weights-32": lambda: _weighted("weights 1:2:4, 32 devices", 32),
    "weights-64": lambda: _weighted("weights 1:2:4, 64 devices", 64),
    "projects": _projects,
    "two-sizes": _two_sizes,
    "newcomer": lambda: Scenario("a newcomer, 32 devices", (Made(32),), checkpoints(2), owners(2), _newcomer),
    "flood": lambda: _flood("100,000 images of 20 checkpoints beside small jobs, 64", 1),
    "flood-resident": lambda: _flood("the same with 3 resident", 3),
    "cold-interactive": lambda: _cold_interactive("interactive on 8 cold checkpoints, 8 devices", 1),
    "cold-interactive-resident": lambda: _cold_interactive("the same with 3 resident", 3),
    "first-images": lambda: Scenario(
        "10,000 interactive jobs of one owner, 32 devices",
        (Made(32, slots=3),),
        checkpoints(6),
        owners(4),
        _many_first_images,
        left_out=frozenset({3}),
    ),
    "priorities": lambda: Scenario(
        "priorities 20, 50 and 80, 16 devices", (Made(16),), checkpoints(3), owners(3), _priorities
    ),
    "misjudged": lambda: _endless("8 owners, 64 devices, estimates off by half", 64, 8, estimate_error=0.5),
    "deadlines": lambda: Scenario(
        "deadlines and priorities at 90 %, 64 devices",
        (Made(64, slots=2),),
        checkpoints(16),
        owners(20),
        mixed(0.9, deadlines=0.3, priorities=True),
    ),
    "mixed-misjudged": lambda: Scenario(
        "mixed at 85 %, estimates off by half, 100 devices",
        (Made(100),),
        checkpoints(24),
        owners(20),
        mixed(0.85),
        estimate_error=0.5,
    ),
    "shared-disks": lambda: Scenario(
        "mixed at 95 %, loads share a host's disk, 100 devices",
        (Made(100),),
        checkpoints(24),
        owners(20),
        mixed(0.95),
        has_shared_disks=True,
    ),
    "gamed-deadlines": invented_deadlines,
    "gamed-checkpoints": single_images,
    "large-85": lambda: _large("1,000 devices, 200 checkpoints, 85 %", 0.85),
    "large-95": lambda: _large("1,000 devices, 200 checkpoints, 95 %", 0.95),
    "large-110": lambda: _large("1,000 devices, 200 checkpoints, 110 %", 1.10),
    "huge-85": lambda: _large("1,000 devices, 2,000 checkpoints, 85 %", 0.85, groups=2000),
}
