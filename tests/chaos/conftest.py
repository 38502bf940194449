"""Programs of the farm for a test, kept running."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from farm.config import Settings
from farm.embedded.machine import free_port
from tests.chaos.processes import Kept, kept

Run = Callable[..., Kept]


@pytest.fixture
def quick(settings: Settings, tmp_path: Path) -> Settings:
    """Settings of a farm that does everything soon."""
    return settings.model_copy(
        update={
            "data_dir": tmp_path / "data",
            "lease_seconds": 2.0,
            "poll_seconds": 0.3,
            "keeper_seconds": 0.2,
            "grace_seconds": 2.0,
            "port": free_port("127.0.0.1", 0),
        }
    )


@pytest.fixture
def run(quick: Settings) -> Iterator[Run]:
    """Run a program of the farm until the end of the test; what dies is started again."""
    with ExitStack() as stack:
        yield lambda module, *arguments, **variables: stack.enter_context(
            kept(quick, module, *arguments, **variables)
        )
