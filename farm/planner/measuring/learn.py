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
from farm.planner.measuring.paces import FORGOTTEN_SECONDS, Pace, Paces

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
    "SELECT * FROM (SELECT family, pixels, device_class, batch, seconds_per_step, samples, updated_at FROM speeds "
    f"ORDER BY updated_at DESC LIMIT {MOST_KEPT}) newest ORDER BY updated_at"
)
_LOAD_LOADS = text(
    "SELECT * FROM (SELECT checkpoint_id, device_class, seconds, samples, updated_at FROM loads "
    f"ORDER BY updated_at DESC LIMIT {MOST_KEPT}) newest ORDER BY updated_at"
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

    `pixels` is None, or `steps` 0, where nothing is known of the size: then it says nothing of the speed. A plain
    call renders from text alone, in one pass.
    """

    family: str
    checkpoint: int
    pixels: int | None
    steps: float
    device_class: str
    batch: int
    render_seconds: float | None
    load_seconds: float | None = None
    is_plain: bool = True


@dataclass
class Learned:
    """All that is measured, as its leader keeps it, and what of it is stored."""

    _paces: Paces = field(default_factory=Paces)
    _loads: dict[LoadKey, Mean] = field(default_factory=dict)
    _stored_paces: dict[SpeedKey, Pace] = field(default_factory=dict)
    _stored_loads: dict[LoadKey, float] = field(default_factory=dict)

    @classmethod
    def load(cls, session: Session, now: float) -> "Learned":
        """What is stored; `now` is by the clock of whoever calls `observe`."""
        learned = cls()
        for *key, seconds, samples, _ in session.execute(_LOAD_SPEEDS):
            learned._paces.recall((key[0], key[1], key[2], key[3]), Mean(seconds, samples), now)
        for *key, seconds, samples, _ in session.execute(_LOAD_LOADS):
            learned._loads[key[0], key[1]] = Mean(seconds, samples)
        learned._stored_paces = dict(learned._paces.items())
        learned._stored_loads = {key: mean.value for key, mean in learned._loads.items()}
        return learned

    def observe(self, samples: Iterable[Sample], now: float) -> None:
        for sample in samples:
            if sample.pixels and sample.steps > 0 and sample.render_seconds:
                key = (sample.family, sample.pixels, sample.device_class, sample.batch)
                seconds = sample.render_seconds / sample.batch / sample.steps
                self._paces.learn(key, seconds, sample.steps, now, is_plain=sample.is_plain)
            if (sample.load_seconds or 0.0) >= _LEAST_LOAD_SECONDS:
                self._add_load((sample.checkpoint, sample.device_class), sample.load_seconds or 0.0)

    def _add_load(self, key: LoadKey, seconds: float) -> None:
        """Those seen last are last: the first is the first to go."""
        mean = self._loads.pop(key, None)
        self._loads[key] = mean.add(seconds) if mean else Mean(seconds)
        if len(self._loads) > MOST_KEPT:
            del self._loads[next(iter(self._loads))]

    def speeds(self, groups: Iterable[Group] = (), device_classes: Iterable[str] = ()) -> Speeds:
        """The measured speeds. Sizes of these groups that were not measured follow from others of their family."""
        by_key = {key: pace.mean.value for key, pace in self._paces.items()}
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
        for (family, pixels, device_class, _), pace in self._paces.items():
            key = (family, pixels, device_class)
            best[key] = min(best.get(key, pace.mean.value), pace.mean.value)
        found: dict[tuple[str, str | None], list[float]] = {}
        for (family, pixels, device_class), seconds in best.items():
            found.setdefault((family, device_class), []).append(seconds / pixels)
            found.setdefault((family, None), []).append(seconds / pixels)
        return {key: sum(rates) / len(rates) for key, rates in found.items()}

    def families(self) -> set[str]:
        """The families of which something was measured."""
        return {key[0] for key, _ in self._paces.items()}

    def forget_stored(self) -> None:
        """Nobody knows what is stored: everything is written again, so much at a time."""
        self._stored_paces.clear()
        self._stored_loads.clear()

    def store(self, session: Session) -> int:
        """Write the means that moved, and which speeds are in use still; return how many rows that were."""
        speeds = _first(key for key, pace in self._paces.items() if _is_to_write(pace, self._stored_paces.get(key)))
        loads = _first(
            key for key, mean in self._loads.items() if not mean.is_near(self._stored_loads.get(key), _MOVED)
        )
        if speeds:
            families, pixels, classes, batches = map(list, zip(*speeds, strict=True))
            figures = _figures([self._paces[key].mean for key in speeds])
            session.execute(
                _STORE_SPEEDS,
                {"families": families, "pixels": pixels, "classes": classes, "batches": batches, **figures},
            )
        if loads:
            checkpoints, classes = map(list, zip(*loads, strict=True))
            figures = _figures([self._loads[key] for key in loads])
            session.execute(_STORE_LOADS, {"checkpoints": checkpoints, "classes": classes, **figures})
        self._stored_paces |= {key: self._paces[key] for key in speeds}
        self._stored_loads |= {key: self._loads[key].value for key in loads}
        return len(speeds) + len(loads)


def _is_to_write(pace: Pace, stored: Pace | None) -> bool:
    if stored is None or not pace.mean.is_near(stored.mean.value, _MOVED):
        return True
    return pace.learned_at - stored.learned_at > FORGOTTEN_SECONDS


def _first(keys: Iterable[K]) -> list[K]:
    """So many keys at a time, in order: two leaders at once then wait for each other, no more."""
    return sorted(islice(keys, _MOST_WRITTEN))


def _figures(means: Iterable[Mean]) -> dict[str, list[float] | list[int]]:
    listed = list(means)
    return {"seconds": [mean.value for mean in listed], "samples": [mean.samples for mean in listed]}
