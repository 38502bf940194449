"""The render loop, from the claim to the published image."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from farm.config import Settings
from farm.errors import CannotRender, DeviceBroken, Raced, RenderError
from farm.queue import claim, steering
from farm.reports.waiting import explain
from farm.store.protocol import Store
from farm.weights import checkpoints
from farm.weights.folder import CheckpointFolder, inspect_folder
from tests.chaos.null_renderer import NullRenderer
from tests.factories import Scene, a_request, accept
from tests.waiting import wait_until
from workers.canvas.inputs import NoInputs
from workers.diffusion import DiffusionRenderer
from workers.loop.orders import Orders
from workers.loop.runner import Runner, SuspectDevice
from workers.model.pipelines import Pipelines
from workers.model.provenance import Machine
from workers.modes import RENDERS, txt2img
from workers.renderer import OnStep

Submit = Callable[..., int]
Render = Callable[[Any, Sequence[Any], OnStep], list[np.ndarray]]


@pytest.fixture
def orders() -> Orders:
    return Orders(drain_seconds=0)


@pytest.fixture
def submit(scene: Scene, demo_folder: Path) -> Submit:
    """Submit a small job for the demo checkpoint; return its id."""
    with scene.database.begin() as session:
        checkpoints.add(session, "demo", inspect_folder(demo_folder))

    def submit_small(**fields: Any) -> int:
        request = a_request(**{"width": 64, "height": 64, "num_inference_steps": 2, **fields})
        return accept(scene.database, scene.settings, scene.doorbell, request).job_id

    return submit_small


@pytest.fixture
def work(scene: Scene, pipelines: Pipelines, orders: Orders) -> Iterator[Callable[..., threading.Thread]]:
    """Let a worker run until it is asked to drain."""
    threads: list[threading.Thread] = []

    def start(**changes: Any) -> threading.Thread:
        fast = {"poll_seconds": 0.1, "lease_seconds": 1.0, **changes}
        settings: Settings = scene.settings.model_copy(update=fast)
        renderer = DiffusionRenderer(pipelines, Machine("a processor", "fp32", 1), NoInputs())
        runner = Runner(settings, orders, renderer, scene.worker())
        threads.append(threading.Thread(target=runner.run))
        threads[-1].start()
        return threads[-1]

    yield start
    orders.drain()
    for thread in threads:
        thread.join(30)


Work = Callable[..., threading.Thread]


@pytest.fixture
def render_with(monkeypatch: pytest.MonkeyPatch) -> Callable[[Render], None]:
    """Let txt2img be rendered in another way."""
    return lambda render: monkeypatch.setitem(RENDERS, "txt2img", render)


def raising(error: Exception) -> Render:
    def render(_studio: Any, _specs: Sequence[Any], _on_step: OnStep) -> list[np.ndarray]:
        raise error

    return render


def finish(scene: Scene, job_id: int) -> str:
    wait_until(lambda: scene.job(job_id).finished_at, seconds=30)
    return scene.job(job_id).status


def outcomes(scene: Scene) -> list[str]:
    return str(scene.scalar("SELECT string_agg(outcome, ' ' ORDER BY number) FROM attempts")).split()


def test_a_job_is_rendered_stored_and_published(scene: Scene, submit: Submit, work: Work, store: Store) -> None:
    job_id = submit(images_per_prompt=3)
    work()
    assert finish(scene, job_id) == "succeeded"
    assert len(list(store.keys("results/"))) == len(list(store.keys("thumbnails/"))) == 3


def test_the_bucket_of_the_batch_is_recorded(scene: Scene, submit: Submit, work: Work) -> None:
    finished = submit(images_per_prompt=3)
    work()
    finish(scene, finished)
    assert scene.scalar("SELECT array_agg(DISTINCT provenance -> 'bucket') FROM results") == [4]


def test_an_idle_worker_finds_work_without_a_ring(scene: Scene, submit: Submit, work: Work) -> None:
    work()
    wait_until(lambda: scene.scalar("SELECT status FROM workers") == "idle")
    assert finish(scene, submit()) == "succeeded"


def test_a_worker_reports_its_resident_checkpoint(scene: Scene, submit: Submit, work: Work) -> None:
    finished = submit()
    work()
    finish(scene, finished)
    wait_until(lambda: scene.scalar("SELECT checkpoint_id FROM workers"), seconds=10)


def test_a_draining_worker_hands_back_what_it_renders(
    scene: Scene, submit: Submit, work: Work, orders: Orders, render_with: Callable[[Render], None]
) -> None:
    def render_until_drained(_studio: Any, _specs: Sequence[Any], on_step: OnStep) -> list[np.ndarray]:
        orders.drain()
        on_step(1, 2)
        raise AssertionError("a step after the drain time must not return")

    render_with(render_until_drained)
    job_id = submit(images_per_prompt=2)
    work().join(30)
    assert scene.statuses(job_id) == ["queued", "queued"]
    assert outcomes(scene) == ["handed_back", "handed_back"]


def test_a_worker_that_drained_ends_with_its_images_delivered(
    scene: Scene, submit: Submit, work: Work, orders: Orders, render_with: Callable[[Render], None]
) -> None:
    def render_last(context: Any, specs: Sequence[Any], on_step: OnStep) -> list[np.ndarray]:
        images = txt2img.render(context, specs, on_step)
        orders.drain()
        return images

    render_with(render_last)
    job_id = submit()
    work().join(30)
    assert scene.job(job_id).status == "succeeded"


def test_a_cancelled_batch_stops_at_its_next_step(
    scene: Scene, submit: Submit, work: Work, render_with: Callable[[Render], None]
) -> None:
    job_id = submit()
    stopped = threading.Event()

    def render_for_ever(_studio: Any, _specs: Sequence[Any], on_step: OnStep) -> list[np.ndarray]:
        steering.cancel(scene.database, job_id)
        try:
            for step in itertools.count(1):
                on_step(step, 1000)
                stopped.wait(0.01)
        finally:
            stopped.set()
        raise AssertionError("it never ends by itself")

    render_with(render_for_ever)
    work()
    assert stopped.wait(30)
    assert outcomes(scene) == ["cancelled"]


def test_an_image_that_cannot_be_rendered_fails_at_once(
    scene: Scene, submit: Submit, work: Work, render_with: Callable[[Render], None]
) -> None:
    render_with(raising(CannotRender("too large for this device")))
    job_id = submit()
    work()
    assert finish(scene, job_id) == "failed"
    assert outcomes(scene) == ["failed"]
    assert scene.tasks(job_id)[0].reason == "too large for this device"


def test_the_memory_relief_of_a_failed_attempt_is_recorded(
    scene: Scene, submit: Submit, work: Work, render_with: Callable[[Render], None]
) -> None:
    render_with(raising(torch.OutOfMemoryError("Tried to allocate 2.00 GiB")))
    job_id = submit()
    work()
    assert finish(scene, job_id) == "failed"
    assert scene.scalar("SELECT relief FROM attempts LIMIT 1") == ["caches freed"]
    assert "Tried to allocate 2.00 GiB" in str(scene.tasks(job_id)[0].reason)


def test_a_broken_device_costs_one_attempt_and_takes_no_other(
    scene: Scene, submit: Submit, pipelines: Pipelines, render_with: Callable[[Render], None]
) -> None:
    render_with(raising(torch.AcceleratorError("CUDA error: an illegal memory access was encountered")))
    job_id = submit(images_per_prompt=2, deterministic=True)
    renderer = DiffusionRenderer(pipelines, Machine("a processor", "fp32", 1), NoInputs())
    with pytest.raises(DeviceBroken):
        Runner(scene.settings, Orders(drain_seconds=0), renderer, scene.worker()).run()
    assert outcomes(scene) == ["failed"]
    assert scene.scalar("SELECT error FROM attempts") == (
        "The device broke: CUDA error: an illegal memory access was encountered"
    )
    assert {task.status for task in scene.tasks(job_id)} == {"queued"}


@pytest.mark.parametrize(
    ("error", "reason"),
    [(RenderError("the device broke"), "the device broke"), (ZeroDivisionError("oh"), "ZeroDivisionError: oh")],
)
def test_a_failed_render_is_tried_as_often_as_the_farm_allows(
    scene: Scene,
    submit: Submit,
    work: Work,
    render_with: Callable[[Render], None],
    error: Exception,
    reason: str,
) -> None:
    render_with(raising(error))
    job_id = submit()
    work()
    assert finish(scene, job_id) == "failed"
    assert outcomes(scene) == ["failed"] * scene.settings.max_attempts
    assert scene.tasks(job_id)[0].reason == reason


def test_a_retried_task_waits_until_all_earlier_images_are_in_the_spool(
    submit: Submit, work: Work, scene: Scene, render_with: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []

    def fail(*_: Any) -> list[np.ndarray]:
        order.append("render")
        raise RenderError("not this time")

    render_with(fail)
    monkeypatch.setattr("workers.loop.delivery.deliver.Delivery.wait_until_spooled", lambda _: order.append("wait"))
    work()
    finish(scene, submit())
    assert order == ["render", *["wait", "render"] * (scene.settings.max_attempts - 1)]


def test_a_worker_lives_on_after_an_unforeseen_error(
    scene: Scene, submit: Submit, work: Work, render_with: Callable[[Render], None]
) -> None:
    render_with(raising(ZeroDivisionError("oh")))
    broken = submit()
    work()
    finish(scene, broken)
    render_with(txt2img.render)
    assert finish(scene, submit()) == "succeeded"


def test_a_worker_whose_renders_keep_failing_ends_for_a_fresh_process(
    scene: Scene, submit: Submit, pipelines: Pipelines, orders: Orders, render_with: Callable[[Render], None]
) -> None:
    render_with(raising(ZeroDivisionError("oh")))
    submit()
    submit()
    settings = scene.settings.model_copy(update={"poll_seconds": 0.1})
    renderer = DiffusionRenderer(pipelines, Machine("a processor", "fp32", 1), NoInputs())
    runner = Runner(settings, orders, renderer, scene.worker())
    with pytest.raises(SuspectDevice):
        runner.run()


def test_a_worker_whose_spool_is_full_claims_nothing_more_until_it_has_room(
    scene: Scene, submit: Submit, orders: Orders, tmp_path: Path
) -> None:
    (tmp_path / "store").write_text("in the way of the store's folder")
    job_id = submit(images_per_prompt=6, width=512, height=512, deterministic=True)
    settings = scene.settings.model_copy(update={"poll_seconds": 0.1, "spool_bytes": 2**20, "max_batch": 1})
    runner = Runner(settings, orders, NullRenderer("a processor", 0.0), scene.worker())
    thread = threading.Thread(target=runner.run)
    thread.start()
    time.sleep(2)
    before = scene.statuses(job_id)
    (tmp_path / "store").unlink()
    assert finish(scene, job_id) == "succeeded"
    orders.drain()
    thread.join(30)
    assert sorted(before) == ["queued"] * 5 + ["running"]


def test_a_broken_checkpoint_fails_its_own_job_alone(
    scene: Scene, submit: Submit, work: Work, demo_folder: Path, tmp_path: Path
) -> None:
    gone = CheckpointFolder(tmp_path / "gone", "sd15", "c" * 64)
    with scene.database.begin() as session:
        checkpoints.add(session, "gone", gone)
    broken, sound = submit(checkpoint="gone"), submit()
    work()
    assert [finish(scene, job_id) for job_id in (broken, sound)] == ["failed", "succeeded"]


@pytest.fixture
def broken_claims(scene: Scene) -> Iterator[None]:
    """A database on which every claim fails, and all else works."""
    scene.execute("ALTER TABLE counters RENAME COLUMN batch_limit TO elsewhere")
    yield
    if scene.scalar("SELECT count(*) FROM pg_attribute WHERE attname = 'elsewhere'"):
        mend_claims(scene)


def mend_claims(scene: Scene) -> None:
    scene.execute("ALTER TABLE counters RENAME COLUMN elsewhere TO batch_limit")


def test_a_claim_that_fails_is_reported_until_one_succeeds(
    scene: Scene, submit: Submit, work: Work, request: pytest.FixtureRequest
) -> None:
    job_id = submit()
    request.getfixturevalue("broken_claims")
    work()
    trouble = "SELECT reason FROM workers"
    wait_until(lambda: "it cannot claim work" in (scene.scalar(trouble) or ""))
    assert "batch_limit" in scene.scalar(trouble)
    with scene.database.begin() as session:
        [why] = explain(session, job_id)
    assert why.startswith("Worker host/cpu is in trouble: it cannot claim work: ")
    mend_claims(scene)
    assert finish(scene, job_id) == "succeeded"
    wait_until(lambda: scene.scalar(trouble) is None)


def test_a_spec_that_cannot_be_read_fails_its_own_task_alone(scene: Scene, submit: Submit, work: Work) -> None:
    """Read inside the claim, it would undo every claim of the pool."""
    unreadable, fine = submit(), submit()
    scene.scalar('UPDATE tasks SET spec = \'{"mode": "hologram"}\' WHERE job_id = :id RETURNING 1', id=unreadable)
    work()
    assert finish(scene, fine) == "succeeded"
    assert finish(scene, unreadable) == "failed"
    assert "cannot read what is to be rendered" in str(scene.tasks(unreadable)[0].reason)


def test_a_worker_that_the_farm_has_forgotten_ends_for_a_new_one(scene: Scene, work: Work) -> None:
    thread = work()
    wait_until(lambda: scene.scalar("SELECT count(*) FROM workers WHERE status = 'idle'"))
    scene.scalar("DELETE FROM workers RETURNING id")
    thread.join(30)
    assert not thread.is_alive()


def test_a_worker_whose_claim_raced_tries_again_at_once(
    scene: Scene, submit: Submit, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its next look by itself would come a minute later."""
    job_id = submit()
    original = claim.claim
    with scene.database.begin() as rival:
        assert original(rival, scene.worker("rival"), pool="default", limit=1, lease_seconds=30)

        def claim_and_let_the_rival_go(*args: Any, **options: Any) -> claim.Batch | None:
            try:
                return original(*args, **options)
            except Raced:
                rival.rollback()
                raise

        monkeypatch.setattr(claim, "claim", claim_and_let_the_rival_go)
        work(poll_seconds=60.0)
        wait_until(lambda: scene.job(job_id).status == "succeeded", seconds=50)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of each claim, whether it looks beyond the worker's seat."""
    original, looks = claim.claim, []

    def note(*args: Any, by_seat_alone: bool, **options: Any) -> claim.Batch | None:
        looks.append(not by_seat_alone)
        return original(*args, by_seat_alone=by_seat_alone, **options)

    monkeypatch.setattr(claim, "claim", note)
    return looks


def test_an_idle_worker_looks_beyond_its_seat_at_some_of_its_polls(looks: list[bool], work: Work) -> None:
    work(poll_seconds=0.1)
    wait_until(lambda: len(looks) > claim.POLLS_A_LOOK)
    assert looks[: claim.POLLS_A_LOOK + 1] == [True, *[False] * (claim.POLLS_A_LOOK - 1), True]


def test_an_idle_worker_that_is_rung_looks_beyond_its_seat(looks: list[bool], work: Work, orders: Orders) -> None:
    work(poll_seconds=60.0)
    wait_until(lambda: len(looks) == 1)
    orders.ring()
    wait_until(lambda: len(looks) == 2)
    assert looks == [True, True]


def test_a_worker_takes_the_work_of_others_while_the_devices_of_a_job_are_counted(
    scene: Scene, submit: Submit, work: Work
) -> None:
    """And once they are, it takes that of the job."""
    limited, other = submit(images_per_prompt=3, max_devices=1, priority=90), submit()
    with scene.database.begin() as rival:
        assert claim.claim(rival, scene.worker("rival"), pool="default", limit=1, lease_seconds=30)
        work(poll_seconds=1.0)
        wait_until(lambda: scene.job(other).status == "succeeded", seconds=50)
        rival.rollback()
        wait_until(lambda: scene.job(limited).status == "succeeded", seconds=50)
