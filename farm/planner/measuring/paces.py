"""What a step of an image takes, by family, size, device class and batch: by plain calls, where there are any.

Anybody may submit calls that take far longer than their steps say: of one step, of several passes, over a picture.
They say little of others, and one who sends enough of them would make the farm render in other batches. A batch
that nobody renders any more is forgotten after a while, so that the planner tries it again: it may have been
misjudged, or the machines have changed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from farm.dispatch.measured import SpeedKey
from farm.planner.measuring.means import Mean

FORGOTTEN_SECONDS = 3600.0
"""After how long without a call a batch is forgotten, unless it is the fastest of its size."""
_ENOUGH_STEPS = 10.0
"""Of so many steps on what else a call does hardly counts."""
_USUAL_PART = 0.8
_USUAL_WEIGHT = 0.05
_MOST_SIZES = 5_000

Size = tuple[str, int, str]
"""(family, pixels, device class)"""


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds a step and image in batches of one size, and when the last call was learned from.

    `is_plain` says whether plain calls said so; None: nobody knows.
    """

    mean: Mean
    is_plain: bool | None
    learned_at: float

    def learn(self, seconds: float, now: float, *, is_plain: bool) -> "Pace":
        """The pace with one more call: what odd ones said gives way to plain ones, which odd ones do not change."""
        if is_plain:
            return Pace(Mean(seconds) if self.is_plain is False else self.mean.add(seconds), True, now)
        return self if self.is_plain else Pace(self.mean.add(seconds), self.is_plain, now)


@dataclass
class Paces:
    """The sizes, those seen last being last: the first is the first to go."""

    _by_size: dict[Size, dict[int, Pace]] = field(default_factory=dict)
    _usual_steps: dict[str, float] = field(default_factory=dict)

    def recall(self, key: SpeedKey, mean: Mean, now: float) -> None:
        """Take over what an earlier leader stored. What it saw last is to be recalled last."""
        self._by_size.setdefault(key[:3], {})[key[3]] = Pace(mean, None, now)

    def learn(self, key: SpeedKey, seconds: float, steps: float, now: float, *, is_plain: bool) -> None:
        """Learn from a call of so many steps, each of which took so many seconds an image."""
        size, batch = key[:3], key[3]
        is_plain = self._has_enough_steps(key[0], steps) and is_plain
        paces = self._by_size.pop(size, {})
        known = paces.get(batch)
        paces[batch] = known.learn(seconds, now, is_plain=is_plain) if known else Pace(Mean(seconds), is_plain, now)
        self._by_size[size] = _without_forgotten(paces, now)
        if len(self._by_size) > _MOST_SIZES:
            del self._by_size[next(iter(self._by_size))]

    def _has_enough_steps(self, family: str, steps: float) -> bool:
        usual = self._usual_steps.get(family, steps)
        self._usual_steps[family] = usual + _USUAL_WEIGHT * (steps - usual)
        return steps >= min(_ENOUGH_STEPS, _USUAL_PART * usual)

    def items(self) -> Iterator[tuple[SpeedKey, Pace]]:
        return (((*size, batch), pace) for size, paces in self._by_size.items() for batch, pace in paces.items())

    def __getitem__(self, key: SpeedKey) -> Pace:
        return self._by_size[key[:3]][key[3]]


def _without_forgotten(paces: Mapping[int, Pace], now: float) -> dict[int, Pace]:
    best = min(paces, key=lambda batch: paces[batch].mean.value)
    return {
        batch: pace for batch, pace in paces.items() if batch == best or now - pace.learned_at <= FORGOTTEN_SECONDS
    }
