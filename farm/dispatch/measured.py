"""How long rendering and loading take, as measured, with what is assumed where nothing was measured yet."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Self

_SECONDS_PER_MEGAPIXEL_STEP = 0.2
_LOAD_BYTES_PER_SECOND = 0.5e9
_CACHED_BYTES_PER_SECOND = 2e9
_LOAD_SECONDS = 15.0
_CACHED_LOAD_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Speed:
    """Seconds that one step of one image took on devices of a class, in batches of so many."""

    family: str
    pixels: int
    device_class: str
    batch: int
    seconds_per_step: float
    samples: int = 1


@dataclass(frozen=True, slots=True)
class Load:
    """Seconds that a checkpoint took to load on devices of a class, from its host's cache or not."""

    checkpoint: int
    device_class: str
    is_cached: bool
    seconds: float
    samples: int = 1


SpeedKey = tuple[str, int, str, int]


@dataclass(frozen=True, slots=True)
class Speeds:
    """Seconds a step and image by (family, pixels, device class, batch)."""

    by_key: Mapping[SpeedKey, float] = field(default_factory=lambda: MappingProxyType({}))
    default: float = _SECONDS_PER_MEGAPIXEL_STEP
    """Seconds a step and megapixel where nothing was measured."""
    _by_batch: Mapping[tuple[str, int, str], dict[int, float]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        found: dict[tuple[str, int, str], dict[int, float]] = {}
        for (family, pixels, device_class, batch), seconds in self.by_key.items():
            found.setdefault((family, pixels, device_class), {})[batch] = seconds
        object.__setattr__(self, "_by_batch", found)

    @classmethod
    def of(cls, speeds: Iterable[Speed]) -> Self:
        return cls({(s.family, s.pixels, s.device_class, s.batch): s.seconds_per_step for s in speeds})

    def batches(self, family: str, pixels: int, device_class: str) -> dict[int, float]:
        """Seconds a step and image by batch size, of all that was measured there."""
        return self._by_batch.get((family, pixels, device_class), {})


@dataclass(frozen=True, slots=True)
class Loads:
    """Seconds to load by (checkpoint, device class, whether the host has it cached), and bytes by checkpoint."""

    by_key: Mapping[tuple[int, str, bool], float] = field(default_factory=lambda: MappingProxyType({}))
    bytes_by_checkpoint: Mapping[int, int] = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def of(cls, loads: Iterable[Load], bytes_by_checkpoint: Mapping[int, int]) -> Self:
        by_key = {(load.checkpoint, load.device_class, load.is_cached): load.seconds for load in loads}
        return cls(by_key, bytes_by_checkpoint)

    def seconds(self, checkpoint: int, device_class: str, *, is_cached: bool) -> float:
        """Expected seconds of one load: measured there, else measured the other way, else by its bytes."""
        measured = self.by_key.get((checkpoint, device_class, is_cached))
        if measured is None:
            measured = self.by_key.get((checkpoint, device_class, not is_cached))
        return measured if measured is not None else self._assumed(checkpoint, is_cached)

    def _assumed(self, checkpoint: int, is_cached: bool) -> float:
        size = self.bytes_by_checkpoint.get(checkpoint)
        if not size:
            return _CACHED_LOAD_SECONDS if is_cached else _LOAD_SECONDS
        return size / (_CACHED_BYTES_PER_SECOND if is_cached else _LOAD_BYTES_PER_SECOND)
