"""Running means that forget, and that one odd figure cannot spoil."""

from dataclasses import dataclass

_FIRST = 5
"""So many figures are taken as they come; later ones count as no further off than `_MOST_OFF` times."""
_MOST_OFF = 3.0
_LEAST_WEIGHT = 0.05
"""What a figure counts for once there are many: the mean follows a change within some twenty."""


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean of so many figures, all above zero."""

    value: float
    samples: int = 1

    def add(self, figure: float) -> "Mean":
        """The mean with one more figure.

        The first render on a device may be slow for reasons of its own: a mean of few figures that proves far too
        high is forgotten. Of many, one that is far off counts as far off as any may be.
        """
        if self.samples < _FIRST and figure * _MOST_OFF < self.value:
            return Mean(figure)
        if self.samples >= _FIRST:
            figure = min(max(figure, self.value / _MOST_OFF), self.value * _MOST_OFF)
        weight = max(1 / (self.samples + 1), _LEAST_WEIGHT)
        return Mean(self.value + weight * (figure - self.value), self.samples + 1)

    def is_near(self, value: float | None, part: float) -> bool:
        """Whether a value differs from the mean by no more than this part of it."""
        return value is not None and abs(self.value - value) <= part * abs(value)
