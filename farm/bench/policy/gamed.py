"""Scenarios of an owner who tries to get more than others by how they submit."""

from collections.abc import Iterator
from random import Random

from farm.bench.policy.scenario import ENDLESS, Made, Scenario, Submitted, checkpoints, owners
from farm.dispatch.snapshot import WorkClass

_COLD = 200
_AT_HAND_SECONDS = 100.0


def invented_deadlines() -> Scenario:
    """Ten owners with endless work of one checkpoint; each minute the first invents deadlines for more of it."""

    def arrive(random: Random, scenario: Scenario) -> Iterator[Submitted]:
        for account in scenario.accounts:
            yield Submitted(0.0, 1, account.owner, ENDLESS)
        now = 60.0
        while True:
            images = 60 * scenario.devices
            yield Submitted(now, 1, 1, images, WorkClass.DEADLINE, deadline_at=now + _AT_HAND_SECONDS)
            now += 60.0

    name = "one of 10 owners invents deadlines, 64 devices"
    return Scenario(name, (Made(64),), checkpoints(1), owners(10), arrive, watched=1)


def single_images() -> Scenario:
    """Beside two owners with endless work: an image of each of many checkpoints, again and again."""

    def arrive(random: Random, scenario: Scenario) -> Iterator[Submitted]:
        for owner in (2, 3):
            yield Submitted(0.0, owner, owner, ENDLESS)
        now = 60.0
        while True:
            for group in scenario.groups[3:]:
                yield Submitted(now, group.id, 1, 1)
            now += _AT_HAND_SECONDS

    name = f"one of 3 owners submits single images of {_COLD} checkpoints, 64 devices"
    return Scenario(name, (Made(64),), checkpoints(3 + _COLD), owners(3), arrive, watched=1)
