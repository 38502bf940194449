"""The expected device seconds of an image of each group, kept with the group: what a claim charges its owner."""

from collections import Counter
from collections.abc import Collection, Mapping
from statistics import fmean

from sqlalchemy import text
from sqlalchemy.orm import Session

from farm.dispatch.measured import Speeds
from farm.dispatch.snapshot import Snapshot

_MOVED = 0.05
_MOST_WRITTEN = 1_000

_WRITE = text(
    """
    UPDATE groups g SET seconds = n.seconds
    FROM unnest(CAST(:ids AS bigint[]), CAST(:seconds AS float8[])) AS n (id, seconds)
    WHERE g.id = n.id
    """
)


def expect_seconds(snapshot: Snapshot, families: Collection[str]) -> dict[int, float]:
    """Device seconds of an image in a full batch, by group: the mean over the device classes that are there.

    Nothing for groups of families of which nothing was measured.
    """
    classes = Counter(device.class_ for device in snapshot.devices if device.is_ready)
    best = _best(snapshot.speeds)
    found = {}
    for group in snapshot.groups:
        if group.family in families and group.pixels and group.pixel_steps:
            assumed = snapshot.speeds.default * group.pixels / 1e6
            steps = [best.get((group.family, group.pixels, class_), assumed) for class_ in classes]
            mean = fmean(steps, weights=classes.values()) if classes else assumed
            found[group.id] = group.pixel_steps / group.pixels * mean
    return found


def _best(speeds: Speeds) -> dict[tuple[str, int, str], float]:
    """Seconds for a step of the fastest batch, by family, size and device class."""
    best: dict[tuple[str, int, str], float] = {}
    for (family, pixels, device_class, _), seconds in speeds.by_key.items():
        key = (family, pixels, device_class)
        best[key] = min(best.get(key, seconds), seconds)
    return best


def write_seconds(session: Session, expected: Mapping[int, float], stored: Mapping[int, float]) -> int:
    """Write those that moved by more than 5 %; return how many."""
    moved = [
        id_
        for id_, seconds in sorted(expected.items())
        if id_ not in stored or abs(seconds - stored[id_]) > _MOVED * stored[id_]
    ][:_MOST_WRITTEN]
    if moved:
        session.execute(_WRITE, {"ids": moved, "seconds": [expected[id_] for id_ in moved]})
    return len(moved)
