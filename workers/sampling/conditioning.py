"""The conditioning of one image: its encoded prompts, step by step."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class PromptEmbeds:
    """An encoded text.

    `hidden_states` of the text encoders have the shape (tokens, width): a multiple of 77 tokens; 768 wide for SD1,
    1024 for SD2, 2048 for SDXL. `pooled` has the shape (pooled width,), and is there for SDXL only.
    """

    hidden_states: torch.Tensor
    pooled: torch.Tensor | None = None


@dataclass(frozen=True)
class ScheduledEmbeds:
    """An encoded text that holds until so many steps are done."""

    until_step: int
    embeds: PromptEmbeds


EmbedsSchedule = tuple[ScheduledEmbeds, ...]
"""The encoded texts of a prompt in the order of its steps; the last one holds to the end."""


@dataclass(frozen=True)
class WeightedPrompt:
    """One of the prompts that AND joins, and its weight."""

    weight: float
    schedule: EmbedsSchedule


@dataclass(frozen=True)
class Conditioning:
    """All of one image's prompts, their texts padded to equally many tokens; no `negative` without guidance."""

    prompts: tuple[WeightedPrompt, ...]
    negative: EmbedsSchedule | None

    @property
    def shape(self) -> tuple[int, int]:
        """(prompts, tokens): images of one shape go through the UNet together."""
        return len(self.prompts), self.prompts[0].schedule[0].embeds.hidden_states.shape[0]

    def positive_at(self, step: int) -> list[tuple[float, PromptEmbeds]]:
        """The weighted prompts of a step, counted from 0."""
        return [(prompt.weight, _embeds_at(prompt.schedule, step)) for prompt in self.prompts]

    def negative_at(self, step: int) -> PromptEmbeds | None:
        """The negative prompt of a step, counted from 0; None without guidance."""
        return None if self.negative is None else _embeds_at(self.negative, step)


def _embeds_at(schedule: Sequence[ScheduledEmbeds], step: int) -> PromptEmbeds:
    return next((entry.embeds for entry in schedule if step < entry.until_step), schedule[-1].embeds)
