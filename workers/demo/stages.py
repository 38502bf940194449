"""A stage of training: its steps, its learning rate, its average of weights, and what it saves to go on from."""

import logging
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.optim.swa_utils import get_ema_multi_avg_fn

log = logging.getLogger("training")


@dataclass(frozen=True)
class StageProgress:
    """How far a stage had come, and in how many seconds of work, stops left out."""

    steps: int = 0
    seconds: float = 0.0


_NOTHING_DONE = StageProgress()


class StageClock:
    """Counts the steps and seconds of a stage, those before a stop too; says from time to time how far it is."""

    def __init__(self, stage: str, steps: int, before: StageProgress = _NOTHING_DONE) -> None:
        self.stage, self.steps, self.before = stage, steps, before
        self.done = before.steps
        self._started = time.monotonic()
        self._losses: list[float] = []

    @property
    def seconds(self) -> float:
        return self.before.seconds + time.monotonic() - self._started

    def remaining(self) -> range:
        return range(self.before.steps, self.steps)

    def is_time(self, step: int, every: int) -> bool:
        """After each so many steps, and after the last."""
        return (step + 1) % every == 0 or step + 1 == self.steps

    def note_step(self, step: int, loss: torch.Tensor | None = None) -> None:
        self.done = step + 1
        if loss is not None:
            self._losses.append(loss.item())
        if self.is_time(step, 100):
            mean = f"loss {sum(self._losses) / len(self._losses):.4f}, " if self._losses else ""
            log.info("%s: step %d of %d, %s%.0f s", self.stage, self.done, self.steps, mean, self.seconds)
            self._losses.clear()


@dataclass(frozen=True)
class TrainingStage:
    """One run of training: its highest learning rate, and the phase of each step."""

    name: str
    rate: float
    phases: Sequence[Any]
    save_every: int


@dataclass(frozen=True)
class WeightAverage:
    """The mean of what is learnt, the latest steps counting most: a step leaves so much of it."""

    parts: torch.nn.Module
    keep: float

    def update(self, learning: torch.nn.Module, step: int) -> None:
        keep = min(self.keep, (step + 1) / (step + 10))
        get_ema_multi_avg_fn(keep)(list(self.parts.parameters()), list(learning.parameters()), step)


def spread_phases(phases: Iterable[Any]) -> list[Any]:
    """The phase of each step."""
    return [phase for phase in phases for _ in range(phase.steps)]


def learn(
    folder: Path,
    stage: TrainingStage,
    learning: torch.nn.Module,
    loss_of: Callable[[Any, int], torch.Tensor],
    average: WeightAverage | None = None,
) -> None:
    """Take the steps of a stage that are left, each down the loss of (its phase, its number); save now and then."""
    optimizer, file = _optimizer(learning, stage.rate), folder / f"{stage.name}.pt"
    parts = {"learning": learning, "optimizer": optimizer, **({"average": average.parts} if average else {})}
    clock = StageClock(stage.name, len(stage.phases), _resume(file, **parts))
    for step in clock.remaining():
        _set_rate(optimizer, stage.rate, step, len(stage.phases))
        torch.manual_seed(step)
        loss = loss_of(stage.phases[step], step)
        _descend(optimizer, learning.parameters(), loss)
        if average:
            average.update(learning, step)
        clock.note_step(step, loss)
        if clock.is_time(step, stage.save_every):
            _save(file, clock, **parts)


def _optimizer(learning: torch.nn.Module, rate: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW(learning.parameters(), lr=rate, betas=(0.9, 0.99), weight_decay=0.01, fused=True)


def _set_rate(optimizer: torch.optim.Optimizer, rate: float, step: int, steps: int, warm: int = 200) -> None:
    """Up to the rate in the first steps, and down to zero along a cosine."""
    now = rate * min(1.0, (step + 1) / warm) * 0.5 * (1 + math.cos(math.pi * step / steps))
    for group in optimizer.param_groups:
        group["lr"] = now


def _descend(optimizer: torch.optim.Optimizer, weights: Iterable[torch.nn.Parameter], loss: torch.Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(list(weights), 1.0)
    optimizer.step()


def _resume(file: Path, **parts: Any) -> StageProgress:
    """Put what was saved into its parts; return what was done by then."""
    if not file.exists():
        return _NOTHING_DONE
    saved = torch.load(file, weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(saved[name])
    return StageProgress(int(saved["steps"]), float(saved["seconds"]))


def _save(file: Path, clock: StageClock, **parts: Any) -> None:
    states = {name: part.state_dict() for name, part in parts.items()}
    write_whole(file, {"steps": clock.done, "seconds": clock.seconds, **states})


def write_whole(file: Path, content: Any) -> None:
    """Whole or not at all."""
    partial = file.with_suffix(".part")
    torch.save(content, partial)
    partial.rename(file)
