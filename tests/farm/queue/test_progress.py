"""Progress is shown while Redis has it, and missed without harm."""

import time
from collections.abc import Iterator

import pytest
import redis

from farm.queue.progress import Progress, ProgressBoard
from tests.factories import Scene


@pytest.fixture
def board(scene: Scene) -> Iterator[ProgressBoard]:
    board = ProgressBoard(scene.settings.required_redis_url)
    yield board
    board.close()


def test_written_progress_is_read_back(board: ProgressBoard) -> None:
    board.write({7: Progress(1, 5, 20), 8: Progress(2, 20, 20)})
    assert board.read([7, 8]) == {7: Progress(1, 5, 20), 8: Progress(2, 20, 20)}


def test_a_task_that_wrote_nothing_is_left_out(board: ProgressBoard) -> None:
    board.write({7: Progress(1, 5, 20)})
    assert board.read([6, 7]).keys() == {7}


def test_the_progress_of_no_tasks_is_empty(board: ProgressBoard) -> None:
    assert board.read([]) == {}


def test_progress_is_a_fraction_of_all_steps() -> None:
    assert Progress(attempt=1, step=5, steps=20).fraction == 0.25


def test_progress_is_forgotten_after_a_while(board: ProgressBoard, scene: Scene) -> None:
    board.write({7: Progress(1, 5, 20)})
    with redis.Redis.from_url(scene.settings.required_redis_url) as client:
        assert 0 < client.ttl("farm:progress:7") <= 60


def test_a_dead_redis_costs_no_error_and_little_time() -> None:
    board = ProgressBoard("redis://127.0.0.1:1")
    started = time.monotonic()
    board.write({7: Progress(1, 5, 20)})
    assert board.read([7]) == {}
    assert time.monotonic() - started < 5
    board.close()
