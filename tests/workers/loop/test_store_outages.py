"""A worker that cannot read the store: what needs that is handed back and waits, what does not is rendered."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from farm.errors import StoreError, StoreOutage, StoreRefused
from farm.pictures import uploads
from farm.pictures.uploads import Desk
from farm.queue import endings
from tests.chaos.null_renderer import NullRenderer
from tests.factories import Scene, a_stored_checkpoint
from tests.fakes import MemoryStore
from tests.pictures import a_picture, encoded
from tests.waiting import wait_until
from workers.canvas.inputs import StoredInputs
from workers.loop.orders import Orders
from workers.loop.runner import Runner
from workers.model.storereads import Reads
from workers.model.weights_cache import CachedWeights

SMALL = {"width": 64, "height": 64, "num_inference_steps": 2}

Work = Callable[[], Runner]


class UnreadStore(MemoryStore):
    """A store that gives nothing for a number of reads."""

    def __init__(self) -> None:
        super().__init__()
        self.error: StoreError = StoreOutage("InternalError")
        self.failures_left = 0
        self.reads: list[str] = []

    def get(self, key: str) -> bytes:
        self.reads.append(key)
        if self.failures_left:
            self.failures_left -= 1
            raise self.error
        return super().get(key)


@pytest.fixture
def remote() -> UnreadStore:
    return UnreadStore()


@pytest.fixture
def work(
    scene: Scene, remote: UnreadStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], Runner]]:
    """Let a worker run, with a cold cache; its pauses are short."""
    monkeypatch.setattr("workers.loop.avoided._SHORTEST_PAUSE_SECONDS", 0.02)
    monkeypatch.setattr("workers.loop.avoided._LONGEST_PAUSE_SECONDS", 0.2)
    orders, threads = Orders(drain_seconds=0), []

    def start() -> Runner:
        settings = scene.settings.model_copy(update={"poll_seconds": 0.1, "lease_seconds": 2.0})
        reads = Reads()
        weights, inputs = CachedWeights(remote, tmp_path / "cache", 2**30, reads), StoredInputs(remote, reads)
        renderer = NullRenderer("a processor", 0.0, weights, inputs, reads)
        runner = Runner(settings, orders, renderer, scene.worker())
        threads.append(threading.Thread(target=runner.run))
        threads[-1].start()
        return runner

    yield start
    orders.drain()
    for thread in threads:
        thread.join(30)


def finish(scene: Scene, job_id: int) -> str:
    wait_until(lambda: scene.job(job_id).finished_at, seconds=30)
    return scene.job(job_id).status


def outcomes(scene: Scene) -> list[str]:
    return scene.column("SELECT outcome FROM attempts ORDER BY task_id, number")


def submit_cold(scene: Scene, remote: UnreadStore, **fields: Any) -> int:
    """A job for a checkpoint whose weights lie in the store alone."""
    a_stored_checkpoint(scene.database, remote, {"unet/w.st": b"weights"}, "cold")
    return scene.submit(**{"checkpoint": "cold", **SMALL, **fields})


def an_upload(scene: Scene, remote: UnreadStore) -> str:
    """Hand in a picture; return its id."""
    desk = Desk(scene.database, remote, scene.settings)
    return uploads.keep(desk, encoded(a_picture(64, 64)), role="input").report.id


@pytest.mark.parametrize("error", [StoreOutage("InternalError"), StoreRefused("AccessDenied")])
def test_an_image_whose_weights_the_store_does_not_give_waits_and_costs_no_try(
    scene: Scene, remote: UnreadStore, work: Work, error: StoreError
) -> None:
    remote.error, remote.failures_left = error, 2 * scene.settings.max_attempts
    job_id = submit_cold(scene, remote)
    work()
    assert finish(scene, job_id) == "succeeded"
    assert outcomes(scene) == [*["handed_back"] * 6, "succeeded"]
    assert scene.excluded() == []


def test_an_image_whose_picture_the_store_does_not_give_waits_and_costs_no_try(
    scene: Scene, remote: UnreadStore, work: Work
) -> None:
    remote.failures_left = 2 * scene.settings.max_attempts
    job_id = scene.submit(mode="img2img", image=an_upload(scene, remote), **SMALL)
    work()
    assert finish(scene, job_id) == "succeeded"
    assert outcomes(scene) == [*["handed_back"] * 6, "succeeded"]


def test_a_waiting_image_is_shown_with_the_reason(scene: Scene, remote: UnreadStore, work: Work) -> None:
    remote.failures_left = 10_000
    submit_cold(scene, remote)
    work()
    wait_until(lambda: scene.scalar("SELECT count(*) FROM events WHERE task_id IS NOT NULL"))
    reason = scene.scalar("SELECT reason FROM events WHERE task_id IS NOT NULL LIMIT 1")
    assert reason == "handed back: Checkpoint 'cold' cannot be read from the store now. InternalError"


def test_an_image_that_needs_no_read_is_rendered_while_the_store_is_away(
    scene: Scene, remote: UnreadStore, work: Work
) -> None:
    remote.failures_left = 10_000
    waiting = submit_cold(scene, remote, priority=90)
    going_on = scene.submit(images_per_prompt=5, **SMALL)
    work()
    assert finish(scene, going_on) == "succeeded"
    assert scene.statuses(waiting) != ["failed"]


def test_a_store_that_hangs_is_not_taken_for_a_device_that_hangs(
    scene: Scene, remote: UnreadStore, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_go, ended = threading.Event(), threading.Event()
    monkeypatch.setattr(remote, "get", lambda _: let_go.wait(30))
    monkeypatch.setattr("workers.loop.runner.os._exit", lambda _: ended.set())
    submit_cold(scene, remote)
    runner = work()
    wait_until(lambda: runner._renderer.is_reading)
    runner._give_up_stalled("stalled: no step for 600 s after step 0")
    assert ended.is_set()
    assert outcomes(scene) == ["handed_back"]
    monkeypatch.undo()
    let_go.set()


def test_a_lease_is_kept_while_postgres_is_away_too(
    scene: Scene, remote: UnreadStore, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand_back, said = endings.hand_back, []

    def away_at_first(*arguments: Any) -> None:
        said.append(scene.scalar("SELECT count(*) FROM tasks WHERE status = 'running'"))
        if len(said) < 4:
            raise OperationalError("UPDATE tasks", {}, Exception("the server closed the connection"))
        hand_back(*arguments)

    monkeypatch.setattr(endings, "hand_back", away_at_first)
    remote.failures_left = 1
    job_id = submit_cold(scene, remote)
    work()
    assert finish(scene, job_id) == "succeeded"
    assert (outcomes(scene), said) == (["handed_back", "succeeded"], [1, 1, 1, 1])
