"""The steps of the running batch reach the board."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from farm.queue.claimed import Lease
from farm.queue.progress import Progress, ProgressBoard
from tests.factories import Scene, a_spec
from tests.waiting import wait_until
from workers.loop.reporter import Reporter

LEASES = (Lease(7, 1, 1, a_spec()), Lease(8, 1, 2, a_spec()))


@pytest.fixture
def board(scene: Scene) -> Iterator[ProgressBoard]:
    with closing(ProgressBoard(scene.settings.required_redis_url)) as board:
        yield board


@pytest.fixture
def reporter(board: ProgressBoard) -> Iterator[Reporter]:
    reporter = Reporter(board)
    reporter.start()
    yield reporter
    reporter.stop()


def test_the_latest_step_of_each_task_is_written(board: ProgressBoard, reporter: Reporter) -> None:
    for step in range(1, 6):
        reporter.report(LEASES, step, 20)
    wait_until(lambda: board.read([7, 8]) == {7: Progress(1, 5, 20), 8: Progress(2, 5, 20)}, seconds=10)


def test_a_step_is_reported_without_waiting_for_redis() -> None:
    with closing(ProgressBoard("redis://127.0.0.1:1")) as nowhere:
        reporter = Reporter(nowhere)
        reporter.start()
        reporter.report(LEASES, 1, 20)
        reporter.stop()
    assert not reporter._thread.is_alive()
