"""What both farms of a comparison are asked for: a mix of images, in the order in which they are asked for."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from farm.intake.request import JobRequest, parse_request

_PROMPTS = ("a lighthouse", "a red star", "hills in the morning", "two boats", "a street in the rain")


@dataclass(frozen=True)
class Wish:
    """One image that an owner asks for, as a row of a job's prompts."""

    owner: str
    row: dict[str, Any]


@dataclass(frozen=True)
class Mix:
    """How many images, of which checkpoints, for whom. With several owners each has checkpoints of their own."""

    images: int
    checkpoints: Sequence[str]
    owners: Sequence[str]
    sides: Sequence[int] = (128, 96)
    steps: int = 8
    in_a_row: int = 1
    images_per_job: int = 20
    deterministic: bool = False
    seed: int = 7

    def wishes(self) -> list[Wish]:
        """The images in their order, as they come from many at once: `in_a_row` of a checkpoint together."""
        chosen = random.Random(self.seed)
        found: list[Wish] = []
        while len(found) < self.images:
            number = chosen.randrange(len(self.checkpoints))
            for _ in range(min(self.in_a_row, self.images - len(found))):
                found.append(self._wish(number, len(found), chosen))
        return found

    def _wish(self, number: int, seed: int, chosen: random.Random) -> Wish:
        row = {
            "prompt": chosen.choice(_PROMPTS),
            "checkpoint": self.checkpoints[number],
            "height": chosen.choice(self.sides),
            "seed": seed,
        }
        return Wish(self.owners[number % len(self.owners)], row)

    def request(self, wishes: Sequence[Wish]) -> JobRequest:
        """A job of one owner's wishes."""
        return parse_request(
            {
                "prompts": [wish.row for wish in wishes],
                "width": self.sides[0],
                "num_inference_steps": self.steps,
                "dynamic_prompts": "off",
                "deterministic": self.deterministic,
            }
        )

    def jobs(self, wishes: Sequence[Wish]) -> Iterator[list[int]]:
        """The numbers of the wishes that make a job: so many of one owner, each job as soon as it is full."""
        begun: dict[str, list[int]] = {}
        for number, wish in enumerate(wishes):
            begun.setdefault(wish.owner, []).append(number)
            if len(begun[wish.owner]) == self.images_per_job:
                yield begun.pop(wish.owner)
        yield from begun.values()
