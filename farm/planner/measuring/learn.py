"""What rendering and loading take, learned from what was published: running means by family, size and device."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TypeVar

from sqlalchemy import text
from sqlalchemy.orm import Session

from farm.dispatch.measured import Load, Loads, SpeedKey, Speeds
from farm.dispatch.snapshot import Group
from farm.planner.measuring.means import Mean

K = TypeVar("K", SpeedKey, tuple[int, str])
LoadKey = tuple[int, str]
"""(checkpoint, device class)"""

_MOVED = 0.02
"""A mean that moved by no more than this part is not written again."""
_MOST_WRITTEN = 1_000
MOST_KEPT = 20_000
"""So many speeds, and so many loads: those that moved last."""
_LEAST_LOAD_SECONDS = 0.1
"""What took less was no load: the checkpoint was there."""

_LOAD_SPEEDS = text(
    "SELECT family, pixels, device_class, batch, seconds_per_step, samples FROM speeds "
    f"ORDER BY updated_at DESC LIMIT {MOST_KEPT}"
)
_LOAD_LOADS = text(
    f"SELECT checkpoint_id, device_class, seconds, samples FROM loads ORDER BY updated_at DESC LIMIT {MOST_KEPT}"
)
_STORE_SPEEDS = text(
    """
    INSERT INTO speeds (family, pixels, device_class, batch, seconds_per_step, samples)
    SELECT * FROM unnest(CAST(:families AS text[]), CAST(:pixels AS bigint[]), CAST(:classes AS text[]),
                         CAST(:batches AS integer[]), CAST(:seconds AS float8[]), CAST(:samples AS bigint[]))
    ON CONFLICT (family, pixels, device_class, batch) DO UPDATE
    SET seconds_per_step = excluded.seconds_per_step, samples = excluded.samples, updated_at = now()
    """
)
_STORE_LOADS = text(
    """
    INSERT INTO loads (checkpoint_id, device_class, seconds, samples)
    SELECT n.* FROM unnest(CAST(:checkpoints AS bigint[]), CAST(:classes AS text[]), CAST(:seconds AS float8[]),
                           CAST(:samples AS bigint[])) AS n (checkpoint_id, device_class, seconds, samples)
    JOIN checkpoints k ON k.id = n.checkpoint_id
    ON CONFLICT (checkpoint_id, device_class) DO UPDATE
    SET seconds = excluded.seconds, samples = excluded.samples, updated_at = now()
    """
)


@dataclass(frozen=True, slots=True)
class Sample:
    """What one pipeline call took: `steps` of `pixels` for `batch` images at once, after loading or not.

    `pixels` is None, or `steps` 0, where nothing is known of the size: then it says nothing of the speed.
    """

    family: str
    checkpoint: int
    pixels: int | None
    steps: float
    device_class: str
    batch: int
    render_seconds: float | None
    load_seconds: float | None = None


@dataclass
class Learned:
    """All that is measured, as its leader keeps it, and what of it is stored."""

    _speeds: dict[SpeedKey, Mean] = field(default_factory=dict)
    _loads: dict[LoadKey, Mean] = field(default_factory=dict)
    _stored_speeds: dict[SpeedKey, float] = field(default_factory=dict)
    _stored_loads: dict[LoadKey, float] = field(default_factory=dict)

    @classmethod
    def load(cls, session: Session) -> "Learned":
        learned = cls()
        for *key, seconds, samples in session.execute(_LOAD_SPEEDS):
            learned._speeds[tuple(key)] = Mean(seconds, samples)
        for *key, seconds, samples in session.execute(_LOAD_LOADS):
            learned._loads[tuple(key)] = Mean(seconds, samples)
        learned._stored_speeds = {key: mean.value for key, mean in learned._speeds.items()}
        learned._stored_loads = {key: mean.value for key, mean in learned._loads.items()}
        return learned

    def observe(self, samples: Iterable[Sample]) -> None:
        for sample in samples:
            if sample.pixels and sample.steps > 0 and sample.render_seconds:
                key = (sample.family, sample.pixels, sample.device_class, sample.batch)
                _add(self._speeds, key, sample.render_seconds / sample.batch / sample.steps)
            if (sample.load_seconds or 0.0) >= _LEAST_LOAD_SECONDS:
                _add(self._loads, (sample.checkpoint, sample.device_class), sample.load_seconds or 0.0)

    def speeds(self, groups: Iterable[Group] = (), device_classes: Iterable[str] = ()) -> Speeds:
        """The measured speeds. Sizes of these groups that were not measured follow from others of their family."""
        by_key = {key: mean.value for key, mean in self._speeds.items()}
        known = {key[:3] for key in by_key}
        rates = self._seconds_by_pixel_step()
        for family, pixels in {(group.family, group.pixels) for group in groups if group.pixels}:
            for device_class in device_classes:
                rate = rates.get((family, device_class)) or rates.get((family, None))
                if rate and (family, pixels, device_class) not in known:
                    by_key[family, pixels, device_class, 1] = rate * pixels
        everything = [rate for (_, device_class), rate in rates.items() if device_class is None]
        speeds = Speeds(by_key)
        return replace(speeds, default=sum(everything) / len(everything) * 1e6) if everything else speeds

    def loads(self, bytes_by_checkpoint: Mapping[int, int]) -> Loads:
        """The measured loads: nearly all of them come from the host's own disk."""
        loads = [Load(*key, is_cached=True, seconds=mean.value) for key, mean in self._loads.items()]
        return Loads.of(loads, bytes_by_checkpoint)

    def _seconds_by_pixel_step(self) -> dict[tuple[str, str | None], float]:
        """Seconds for a pixel's step by family and device class, and by family alone, of the best batch by size."""
        best: dict[tuple[str, int, str], float] = {}
        for (family, pixels, device_class, _), mean in self._speeds.items():
            key = (family, pixels, device_class)
            best[key] = min(best.get(key, mean.value), mean.value)
        found: dict[tuple[str, str | None], list[float]] = {}
        for (family, pixels, device_class), seconds in best.items():
            found.setdefault((family, device_class), []).append(seconds / pixels)
            found.setdefault((family, None), []).append(seconds / pixels)
        return {key: sum(rates) / len(rates) for key, rates in found.items()}

    def families(self) -> set[str]:
        """The families of which something was measured."""
        return {key[0] for key in self._speeds}

    def forget_stored(self) -> None:
        """Nobody knows what is stored: everything is written again, so much at a time."""
        self._stored_speeds.clear()
        self._stored_loads.clear()

    def store(self, session: Session) -> int:
        """Write the means that moved; return how many rows that were."""
        speeds = _moved(self._speeds, self._stored_speeds)
        loads = _moved(self._loads, self._stored_loads)
        if speeds:
            families, pixels, classes, batches = map(list, zip(*speeds, strict=True))
            figures = _figures([self._speeds[key] for key in speeds])
            session.execute(
                _STORE_SPEEDS,
                {"families": families, "pixels": pixels, "classes": classes, "batches": batches, **figures},
            )
        if loads:
            checkpoints, classes = map(list, zip(*loads, strict=True))
            figures = _figures([self._loads[key] for key in loads])
            session.execute(_STORE_LOADS, {"checkpoints": checkpoints, "classes": classes, **figures})
        self._stored_speeds |= {key: self._speeds[key].value for key in speeds}
        self._stored_loads |= {key: self._loads[key].value for key in loads}
        return len(speeds) + len(loads)


def _add(means: dict[K, Mean], key: K, figure: float) -> None:
    means[key] = means[key].add(figure) if key in means else Mean(figure)
    if len(means) > MOST_KEPT:
        del means[next(iter(means))]


def _moved(means: Mapping[K, Mean], stored: Mapping[K, float]) -> list[K]:
    """The keys whose means are to be written, in order: two leaders at once then wait for each other, no more."""
    moved = (key for key, mean in means.items() if not mean.is_near(stored.get(key), _MOVED))
    return sorted(islice(moved, _MOST_WRITTEN))


def _figures(means: Iterable[Mean]) -> dict[str, list[float] | list[int]]:
    listed = list(means)
    return {"seconds": [mean.value for mean in listed], "samples": [mean.samples for mean in listed]}
