"""Programs of the farm for a test, kept running."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial

import pytest

from farm.config import Settings
from farm.embedded.machine import find_free_port
from tests.chaos.processes import Kept, kept

Run = Callable[..., Kept]


def quickly(settings: Settings) -> Settings:
    """These settings, for a farm that does everything soon."""
    return settings.model_copy(
        update={
            "lease_seconds": 2.0,
            "poll_seconds": 0.3,
            "keeper_seconds": 0.2,
            "grace_seconds": 2.0,
            "port": find_free_port("127.0.0.1", 0),
        }
    )


@pytest.fixture
def run(settings: Settings) -> Iterator[Run]:
    """Run a program of the farm until the end of the test; what dies is started again."""
    with ExitStack() as stack:
        yield partial(keep, stack, quickly(settings))


def keep(stack: ExitStack, settings: Settings, module: str, *arguments: str, **variables: str) -> Kept:
    return stack.enter_context(kept(settings, module, *arguments, **variables))
