"""Steady work for a long time: whether memory, connections, dead rows and the spool stay where they are."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tests.chaos import samples
from tests.chaos.outage import steady_load
from tests.chaos.samples import Sample
from tests.chaos.stage import Stage, raised, undisturbed

_MEMORY_GROWTH = 1.10
_MEMORY_GROWTH_BYTES = 10 * 2**20
_MORE_CONNECTIONS = 2
_MOST_DEAD_ROWS = 10_000
_UNFINISHED = "SELECT count(*) FROM tasks WHERE status IN ('queued', 'running')"
_MOST_UNFINISHED_SECONDS = 30

Figures = Callable[[Sample], Mapping[str, int]]


@dataclass(frozen=True)
class Endurance:
    """The samples of one run, and what is left unfinished at its end."""

    images_per_second: float
    samples: tuple[Sample, ...]
    unfinished: int
    restarts: int

    def thirds(self, figures: Figures) -> dict[str, tuple[float, float, float]]:
        """The median of each figure in the first, the middle and the last third of the time."""
        return {name: _thirds([figures(s).get(name, 0) for s in self.samples]) for name in self._names(figures)}

    def _names(self, figures: Figures) -> list[str]:
        return sorted({name for sample in self.samples for name in figures(sample)})

    def complaints(self) -> Iterator[str]:
        """A sentence for each thing that grew."""
        for name, (_, middle, last) in self.thirds(lambda s: s.memory).items():
            if last > middle * _MEMORY_GROWTH and last > middle + _MEMORY_GROWTH_BYTES:
                yield f"the memory of {name} grew from {middle / 2**20:.0f} to {last / 2**20:.0f} MiB"
        for name, (_, middle, last) in self.thirds(lambda s: s.connections).items():
            if last > middle + _MORE_CONNECTIONS:
                yield f"the connections of {name} grew from {middle:.0f} to {last:.0f}"
        for name, (_, _, last) in self.thirds(lambda s: s.dead).items():
            if last > _MOST_DEAD_ROWS:
                yield f"{last:.0f} dead rows in {name}"
        if self.unfinished > self.images_per_second * _MOST_UNFINISHED_SECONDS:
            yield f"{self.unfinished} images were waiting at the end"
        if self.restarts:
            yield f"processes died {self.restarts} times"


def _thirds(values: Sequence[float]) -> tuple[float, float, float]:
    size = max(1, len(values) // 3)
    return (
        statistics.median(values[:size]),
        statistics.median(values[size : -size or None]),
        statistics.median(values[-size:]),
    )


def endure(minutes: float, images_per_second: float, sample_seconds: float = 30.0) -> Endurance:
    """Let a farm of two workers render at an even pace for so long."""
    with raised(undisturbed(hosts=2, sweep_seconds=300.0)) as stage, steady_load(stage, images_per_second) as load:
        starts = sum(program.starts for program in stage.programs)
        taken = list(_sampled(stage, minutes * 60, sample_seconds))
        unfinished = stage.scalar(_UNFINISHED)
        load.stop()
        restarts = sum(program.starts for program in stage.programs) - starts
        return Endurance(images_per_second, tuple(taken), unfinished, restarts)


def _sampled(stage: Stage, seconds: float, sample_seconds: float) -> Iterator[Sample]:
    started = time.monotonic()
    due = started
    while time.monotonic() < started + seconds:
        stage.tend()
        if time.monotonic() >= due:
            due += sample_seconds
            yield samples.take(stage, started)
        time.sleep(0.2)
