"""The process pinned to a device, from its start to its first task."""

import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from sqlalchemy import select

from farm.config import Settings
from farm.db.tables.workers import Worker
from farm.embedded.machine import build_environment
from tests.factories import Scene
from tests.waiting import wait_until
from workers.loop.unfit import pause_seconds

UNFIT = """
import workers.loop.unfit
from farm.errors import DeviceUnfit
from workers.child import run
workers.loop.unfit._SHORTEST_PAUSE_SECONDS = 0.2
def unfit(*_):
    raise DeviceUnfit("The device is broken: mend it.")
run(unfit)
"""
OPENING = "import sys, time; from workers.child import run; run(lambda *_: (print('opening'), time.sleep(60)))"


@pytest.fixture
def opening(settings: Settings) -> Iterator[subprocess.Popen[str]]:
    """A child that takes a minute to open its device, and has begun to."""
    arguments = ("1", "cpu", "a processor", "1")
    with subprocess.Popen(
        [sys.executable, "-u", "-c", OPENING, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **build_environment(settings)},
        text=True,
    ) as child:
        assert child.stdout is not None
        while "opening" not in child.stdout.readline():
            pass
        yield child
        child.kill()


@pytest.fixture
def start(settings: Settings) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a child as its parent does."""
    with ExitStack() as stack:

        def start_child(*arguments: str) -> subprocess.Popen[str]:
            child = subprocess.Popen(
                [sys.executable, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env={**os.environ, **build_environment(settings)},
                text=True,
            )
            stack.enter_context(child)
            stack.callback(child.kill)
            return child

        yield start_child


def trouble_of(scene: Scene, worker: int) -> tuple[str, str | None]:
    with scene.database.begin() as session:
        row = session.execute(select(Worker.status, Worker.reason).where(Worker.id == worker)).one()
    return row.status, row.reason


def test_a_child_whose_pytorch_has_no_cuda_takes_no_task_and_says_why(
    scene: Scene, start: Callable[..., subprocess.Popen[str]]
) -> None:
    worker = scene.worker()
    scene.submit()
    child = start("-m", "workers.child", str(worker), "cuda:0", "a card", "1")
    wait_until(lambda: "built without CUDA" in (trouble_of(scene, worker)[1] or ""), seconds=60)
    assert trouble_of(scene, worker)[0] == "starting"
    assert scene.scalar("SELECT count(*) FROM attempts") == 0
    assert child.stdin is not None
    child.stdin.write("drain\n")
    child.stdin.flush()
    assert child.wait(10) == 0


def test_an_unfit_device_is_probed_again_in_a_fresh_process_of_the_same_worker(
    scene: Scene, start: Callable[..., subprocess.Popen[str]]
) -> None:
    worker = scene.worker()
    child = start("-c", UNFIT, str(worker), "cuda:0", "a card", "1")
    assert child.stderr is not None
    pauses = [line for line in itertools.islice(child.stderr, 2) if "no task is taken" in line]
    assert len(pauses) == 2
    assert child.poll() is None
    assert trouble_of(scene, worker) == ("starting", "The device is broken: mend it.")


def test_the_pauses_between_probes_of_an_unfit_device_grow_to_ten_minutes() -> None:
    assert [pause_seconds(tries) for tries in (0, 1, 2, 6, 10**6)] == [10, 20, 40, 600, 600]


def test_a_child_that_is_drained_while_it_opens_its_device_ends_at_once(opening: subprocess.Popen[str]) -> None:
    assert opening.stdin is not None
    opening.stdin.write("drain\n")
    opening.stdin.flush()
    assert opening.wait(10) == 0


def test_a_child_whose_parent_dies_while_it_opens_its_device_ends_at_once(opening: subprocess.Popen[str]) -> None:
    assert opening.stdin is not None
    opening.stdin.close()
    assert opening.wait(10) == 0
