"""Snapshots for tests of dispatch: short to write, and random ones for properties."""

from collections.abc import Sequence

from hypothesis import strategies as st

from farm.dispatch.measured import Load, Loads, Speed, Speeds
from farm.dispatch.policy import Policy
from farm.dispatch.snapshot import Account, Backlog, Carried, Device, Group, Serving, Snapshot, WorkClass

NOW = 10_000.0
LOADS = Loads.of(
    (Load(c, "gpu", cached, 10.0 if cached else 15.0) for c in range(20) for cached in (True, False)), {}
)
SIZES = (64, 200, 2000)
SPEEDS = Speeds.of([Speed("sd15", pixels, "gpu", 8, 1.0) for pixels in SIZES])
"""One second an image of one step, in batches of eight, whatever its pixels."""


def group(number: int, checkpoint: int | None = None, *, pixels: int = 64, batch_limit: int | None = None) -> Group:
    return Group(number, checkpoint or number, "sd15", pixels, batch_limit, float(pixels))


def backlog(
    group: int,
    owner: int = 1,
    images: int = 8,
    *,
    class_: WorkClass = WorkClass.BULK,
    priority: int = 50,
    age: float = 10.0,
    deadline_in: float | None = None,
    max_devices: int | None = None,
    project: int | None = None,
) -> Backlog:
    deadline = None if deadline_in is None else NOW + deadline_in
    return Backlog(group, owner, project, class_, priority, images, NOW - age, deadline, max_devices)


def device(
    number: int,
    *residents: int,
    free_in: float = 0.0,
    serving: Serving | None = None,
    memory_bytes: int = 0,
    too_large: int | None = None,
    barred: Sequence[int] = (),
    cached: Sequence[int] = (),
    slots: int = 1,
) -> Device:
    if free_in > 0 and serving is None:
        serving = Serving(residents[0], 1, None, 8)
    return Device(
        number,
        f"device-{number}",
        f"host-{number}",
        "gpu",
        memory_bytes,
        residents,
        max(slots, len(residents)),
        frozenset(cached),
        NOW + free_in,
        serving,
        barred=frozenset(barred),
        too_large={} if too_large is None else {"sd15": too_large},
    )


def snapshot(
    devices: Sequence[Device],
    backlogs: Sequence[Backlog],
    *,
    groups: Sequence[Group] = (),
    accounts: Sequence[Account] = (),
    carried: Carried | None = None,
    policy: Policy | None = None,
) -> Snapshot:
    """Groups that are not given are made: one of the same number for each backlog and each resident checkpoint."""
    given = {g.id: g for g in groups}
    for number in [b.group for b in backlogs] + [c for d in devices for c in d.residents]:
        given.setdefault(number, group(number))
    return Snapshot(
        "pool",
        tuple(given.values()),
        tuple(backlogs),
        tuple(devices),
        tuple(accounts),
        SPEEDS,
        LOADS,
        policy or Policy(),
        carried or Carried(planned_at=NOW - 1),
    )


_groups = st.integers(1, 6)
_backlogs = st.builds(
    backlog,
    _groups,
    st.integers(1, 4),
    st.integers(1, 200),
    class_=st.sampled_from(WorkClass),
    priority=st.sampled_from((20, 50, 80)),
    age=st.floats(0, 4000),
    deadline_in=st.none() | st.floats(-500, 3000),
    max_devices=st.none() | st.integers(0, 3),
    project=st.none() | st.integers(1, 2),
)


@st.composite
def _devices(draw: st.DrawFn) -> list[Device]:
    found = []
    for number in range(1, draw(st.integers(0, 8)) + 1):
        residents = draw(st.lists(_groups, max_size=3, unique=True))
        free_in = draw(st.floats(0, 20)) if residents else 0.0
        found.append(
            device(
                number,
                *residents,
                free_in=free_in,
                too_large=draw(st.sampled_from((None, 100, 1000))),
                barred=draw(st.lists(_groups, max_size=2)),
                cached=draw(st.lists(_groups, max_size=3)),
            )
        )
    return found


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    groups = [group(n, pixels=draw(st.sampled_from(SIZES))) for n in range(1, 7)]
    accounts = [Account(n, weight=draw(st.floats(0.1, 5)), lag=draw(st.floats(-500, 500))) for n in range(1, 5)]
    backlogs = draw(st.lists(_backlogs, max_size=12))
    return snapshot(draw(_devices()), backlogs, groups=groups, accounts=accounts)
