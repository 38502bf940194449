"""What the UNet is told of one image's prompts, step by step."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Embeds:
    """An encoded text: `tokens` of shape (tokens, width), and for SDXL `pooled` of shape (pooled width,)."""

    tokens: torch.Tensor
    pooled: torch.Tensor | None = None


@dataclass(frozen=True)
class Stage:
    """What holds until so many steps are done."""

    until_step: int
    embeds: Embeds


Staged = tuple[Stage, ...]
"""The stages of a prompt in order; the last lasts to the end."""


@dataclass(frozen=True)
class Part:
    """One of the prompts that AND joins, and its weight."""

    weight: float
    stages: Staged


@dataclass(frozen=True)
class Conditions:
    """All of one image's prompts, their texts filled up to equally many tokens; no `negative` without guidance."""

    parts: tuple[Part, ...]
    negative: Staged | None

    @property
    def shape(self) -> tuple[int, int]:
        """(parts, tokens): images of one shape go through the UNet together."""
        return len(self.parts), self.parts[0].stages[0].embeds.tokens.shape[0]

    def positive_at(self, step: int) -> list[tuple[float, Embeds]]:
        """The weighted texts of a step, counted from 0."""
        return [(part.weight, _at(part.stages, step)) for part in self.parts]

    def negative_at(self, step: int) -> Embeds | None:
        return None if self.negative is None else _at(self.negative, step)


def _at(stages: Sequence[Stage], step: int) -> Embeds:
    return next((stage.embeds for stage in stages if step < stage.until_step), stages[-1].embeds)
