"""Sub-prompts that are rendered together: `a castle AND fog:0.5`, each with its weight.

The rules are those of AUTOMATIC1111's WebUI; a weight at the end counts without any AND as well.
"""

import re
from dataclasses import dataclass

from farm.prompts.attention import clamp_weight

_AND = re.compile(r"\bAND\b")
_WEIGHT = re.compile(r"\s*([-+]?(?:\d+\.?|\d*\.\d+))\s*")


@dataclass(frozen=True)
class SubPrompt:
    """A sub-prompt, and what its guidance is multiplied by."""

    text: str
    weight: float


def compose(text: str) -> tuple[SubPrompt, ...]:
    """The sub-prompts of a text, at least one, without the space around them."""
    pieces = _AND.split(text)
    if len(pieces) == 1:
        return (_parse_sub_prompt(text),)
    return tuple(_parse_sub_prompt(piece.strip()) for piece in pieces)


def _parse_sub_prompt(text: str) -> SubPrompt:
    before, colon, number = text.rpartition(":")
    weight = _WEIGHT.fullmatch(number) if colon else None
    if weight is None:
        return SubPrompt(text, 1.0)
    return SubPrompt(before.rstrip(), clamp_weight(float(weight[1])))
