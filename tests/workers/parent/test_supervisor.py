"""How the parent treats its children."""

import subprocess
import time
from collections.abc import Iterator
from signal import SIGKILL

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.config import Settings
from farm.queue.claimed import Lease
from tests.conftest import SECRET
from tests.factories import Scene
from workers.loop.delivery.spool import Spool
from workers.loop.delivery.spoolfile import EncodedFile, FinishedImage
from workers.parent.children import pinned_environment
from workers.parent.devices import Device
from workers.parent.pulse import Pulse
from workers.parent.supervisor import DeviceSlot, Supervisor

CPU = Device("cpu", "a processor", "")
GPU = Device("cuda:0", "a card", "GPU-aaaa")


def test_an_empty_seat_is_filled_after_a_pause_that_doubles_with_each_death() -> None:
    pauses = [DeviceSlot(CPU, 1, deaths=deaths).pause_seconds() for deaths in range(8)]
    assert pauses == [0, 0, 1, 2, 4, 8, 16, 30]


@given(st.integers(8, 1_000_000))
def test_a_device_that_is_broken_for_days_is_tried_every_half_minute(deaths: int) -> None:
    assert DeviceSlot(CPU, 1, deaths=deaths).pause_seconds() == 30


@pytest.mark.parametrize(("device", "visible"), [(CPU, ""), (GPU, "GPU-aaaa")])
def test_a_child_sees_its_own_device_alone(settings: Settings, device: Device, visible: str) -> None:
    assert pinned_environment(settings, device)["CUDA_VISIBLE_DEVICES"] == visible


def test_a_child_works_for_the_farm_of_its_parent(settings: Settings) -> None:
    environment = pinned_environment(settings.model_copy(update={"pool": "fast"}), CPU)
    assert environment["FARM_DATABASE_URL"] == settings.database_url
    assert (environment["FARM_POOL"], environment["FARM_SECRET_KEY"]) == ("fast", SECRET)


def test_a_child_asks_no_hub(settings: Settings) -> None:
    assert pinned_environment(settings, CPU)["HF_HUB_OFFLINE"] == "1"


def test_a_child_without_a_sign_of_life_is_killed(scene: Scene) -> None:
    supervisor = Supervisor(scene.settings, [])
    with subprocess.Popen(["sleep", "60"], stdout=subprocess.PIPE, bufsize=0) as child:
        assert child.stdout is not None
        # Five deaths before: its slot stays empty for a while.
        slot = DeviceSlot(CPU, 1, child, pulse=Pulse(child.stdout), worker_id=scene.worker(), deaths=5)
        slot.started_at = time.monotonic()
        supervisor._slots.append(slot)
        supervisor.tend()
        assert child.poll() is None
        slot.pulse._last -= 61  # type: ignore[union-attr]  # a minute passes
        supervisor.tend()
        assert child.poll() == -SIGKILL
    assert scene.scalar("SELECT status FROM workers") == "offline"
    supervisor._slots.clear()
    supervisor.stop()


def a_dead_child() -> subprocess.Popen[bytes]:
    child = subprocess.Popen(["true"])
    child.wait()
    return child


@pytest.fixture
def bereaved(scene: Scene) -> Iterator[Supervisor]:
    """A parent whose one child held two tasks, and is dead. An idle sibling of it has taken over one image."""
    scene.submit(images_per_prompt=2, width=64, height=64)
    worker_id = scene.worker()
    rendered, _ = scene.claim(worker_id)
    spool = Spool(scene.settings.spool_folder, scene.worker("cpu:1"), limit_bytes=2**30, batch=1)
    spool.open()
    spool.put(an_image(rendered))
    supervisor = Supervisor(scene.settings, [])
    # Five deaths before: its slot stays empty for a while.
    supervisor._slots.append(DeviceSlot(CPU, 1, a_dead_child(), worker_id=worker_id, deaths=5))
    supervisor._slots[0].started_at = time.monotonic()
    yield supervisor
    supervisor._slots.clear()
    supervisor.stop()
    spool.close()


def an_image(lease: Lease) -> FinishedImage:
    file = EncodedFile(b"pixels", "image/png", ".png", 64, 64)
    return FinishedImage(lease, file, file, gpu_seconds=0.5, timings={}, provenance={}, relief=())


def test_an_image_that_a_sibling_took_over_is_not_given_back_with_the_dead(
    scene: Scene, bereaved: Supervisor
) -> None:
    bereaved.tend()
    assert scene.column("SELECT status FROM tasks ORDER BY seq") == ["running", "queued"]


def test_an_image_that_a_sibling_took_over_is_not_given_back_at_a_stop(scene: Scene, bereaved: Supervisor) -> None:
    bereaved.stop()
    assert scene.column("SELECT status FROM tasks ORDER BY seq") == ["running", "queued"]
