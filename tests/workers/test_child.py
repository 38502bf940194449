"""The process pinned to a device, from its start to its first task."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from farm.config import Settings
from farm.embedded.machine import environment

OPENING = "import sys, time; from workers.child import run; run(lambda *_: (print('opening'), time.sleep(60)))"


@pytest.fixture
def opening(settings: Settings) -> Iterator[subprocess.Popen[str]]:
    """A child that takes a minute to open its device, and has begun to."""
    arguments = ("1", "cpu", "a processor", "1")
    with subprocess.Popen(
        [sys.executable, "-u", "-c", OPENING, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **environment(settings)},
        text=True,
    ) as child:
        assert child.stdout is not None
        while "opening" not in child.stdout.readline():
            pass
        yield child
        child.kill()


def test_told_to_drain_while_it_opens_its_device_it_ends_at_once(opening: subprocess.Popen[str]) -> None:
    assert opening.stdin is not None
    opening.stdin.write("drain\n")
    opening.stdin.flush()
    assert opening.wait(10) == 0


def test_an_orphan_that_opens_its_device_ends_at_once(opening: subprocess.Popen[str]) -> None:
    assert opening.stdin is not None
    opening.stdin.close()
    assert opening.wait(10) == 0
