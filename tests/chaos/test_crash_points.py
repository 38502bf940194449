"""Every process is killed at every place that has a name, and no promise breaks.

One farm is killed again and again: its processes are started anew when they die, and what the places
did to it before must not matter.
"""

import platform
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from farm.client import Client, PortalUnreachable
from farm.crashpoints import POINTS, arm
from farm.embedded.postgres import Postgres
from farm.embedded.redis import Redis
from farm.errors import ConfigError, Conflict
from farm.network.addresses import http_url
from farm.queue.doorbell import Doorbell
from farm.store.protocol import Store, open_store
from tests.chaos.conftest import keep, quickly
from tests.chaos.null_renderer import STEP_SECONDS
from tests.chaos.processes import Kept
from tests.chaos.promises import broken
from tests.chaos.tampering import NO_PAUSE
from tests.cli.conftest import type_farm
from tests.conftest import emptied_database, settings_in
from tests.factories import Scene, a_checkpoint, a_request
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
WORKER = f"{platform.node()}/cpu"
SMALL = {"width": 64, "height": 64, "num_inference_steps": 2}


def points_of(program: str) -> list[str]:
    return [name for name in POINTS if name.startswith(f"{program}.")]


@dataclass(frozen=True)
class MortalFarm:
    """A keeper, a portal and a worker, and the folder that says where one of them dies next."""

    scene: Scene
    store: Store
    client: Client
    parent: Kept
    points: Path

    def doom(self, point: str) -> None:
        (self.points / point).touch()

    def is_doomed(self, point: str) -> bool:
        return (self.points / point).exists()

    def submit(self, **fields: object) -> int:
        return self.scene.submit(**{"images_per_prompt": 3, **SMALL, **fields})

    def child(self) -> psutil.Process:
        """The process that renders, once there is one."""
        wait_until(lambda: psutil.Process(self.parent.process.pid).children())
        return psutil.Process(self.parent.process.pid).children()[0]

    def broken_after(self, point: str) -> list[str]:
        """The promises that are broken once a process has died there and all work has ended."""
        wait_until(lambda: not self.is_doomed(point))
        wait_until(lambda: self.scene.scalar("SELECT count(*) FROM jobs WHERE finished_at IS NULL") == 0)
        return broken(self.scene.database, self.store)


@pytest.fixture(scope="module")
def farm(postgres: Postgres, redis_server: Redis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MortalFarm]:
    folder = tmp_path_factory.mktemp("mortal")
    (folder / "points").mkdir()
    settings = quickly(settings_in(folder, postgres, redis_server))
    with ExitStack() as stack:
        database = stack.enter_context(closing(emptied_database(settings)))
        doorbell = stack.enter_context(closing(Doorbell(settings.required_redis_url)))
        a_checkpoint(database)
        run = partial(keep, stack, settings, FARM_CRASH_POINTS=str(folder / "points"))
        run("farm", "keeper")
        run("web")
        parent = run("tests.chaos.worker", "--devices", "cpu", **{NO_PAUSE: "1", STEP_SECONDS: "0.03"})
        client = stack.enter_context(Client(http_url(settings.host, settings.port)))
        wait_until(client.is_ready)
        yield MortalFarm(
            Scene(database, settings, doorbell), open_store(settings), client, parent, folder / "points"
        )


@pytest.mark.parametrize("point", points_of("worker"))
def test_a_worker_killed_at_any_crash_point_breaks_no_promise(farm: MortalFarm, point: str) -> None:
    farm.doom(point)
    farm.submit()
    if point in ("worker.failing", "worker.failed"):
        farm.submit(prompts=["fail"], images_per_prompt=1)
    if point == "worker.handing_back":
        drain_while_rendering(farm)
    assert farm.broken_after(point) == []


def drain_while_rendering(farm: MortalFarm) -> None:
    """End the parent while its child renders something long; both are started again."""
    wait_until_rendering(farm, farm.submit(num_inference_steps=150, images_per_prompt=1))
    farm.parent.process.terminate()


def wait_until_rendering(farm: MortalFarm, job_id: int) -> None:
    wait_until(lambda: "running" in farm.scene.statuses(job_id))


@pytest.mark.parametrize("point", points_of("parent"))
def test_a_parent_killed_at_any_crash_point_breaks_no_promise(farm: MortalFarm, point: str) -> None:
    """Each place comes after the death of a child."""
    wait_until_rendering(farm, farm.submit(num_inference_steps=50))
    farm.doom(point)
    farm.child().kill()
    assert farm.broken_after(point) == []


@pytest.mark.parametrize("point", points_of("keeper"))
def test_a_keeper_killed_at_any_crash_point_breaks_no_promise(farm: MortalFarm, point: str) -> None:
    """Another worker takes work and is never heard of again."""
    farm.scene.drain(WORKER)
    job_id = farm.submit()
    # Beside a fresh plan a worker takes at once only what needs what it holds.
    held = [a_checkpoint(farm.scene.database)]
    leases = farm.scene.claim(farm.scene.worker(), limit=2, residents=held)
    assert leases
    farm.doom(point)
    farm.scene.let_leases_end(*leases)
    wait_until(lambda: farm.scene.statuses(job_id) == ["queued"] * 3)
    farm.scene.restore(WORKER)
    assert farm.broken_after(point) == []


@pytest.mark.parametrize("point", points_of("portal"))
def test_a_portal_killed_at_any_crash_point_breaks_no_promise(farm: MortalFarm, point: str) -> None:
    before = farm.scene.scalar("SELECT count(*) FROM jobs")
    farm.doom(point)
    REQUESTS[point](farm.client, f"order-{point}")
    assert not farm.is_doomed(point)
    assert farm.broken_after(point) == []
    assert farm.scene.scalar("SELECT count(*) FROM jobs") == before + 1


def ask_to_submit(client: Client, order: str, **fields: object) -> int:
    request = a_request(**{**SMALL, **fields})
    return insist(lambda: client.submit(request, idempotency_key=order))[0].id


def ask_to_cancel(client: Client, order: str) -> None:
    job_id = ask_to_submit(client, order, num_inference_steps=150)
    insist(lambda: client.act(job_id, "cancel"))


def ask_to_retry(client: Client, order: str) -> None:
    job_id = ask_to_submit(client, order, prompts=["fail"])
    wait_until(lambda: client.job(job_id).is_final)
    insist(lambda: client.act(job_id, "retry"))


REQUESTS = {
    "portal.accepting": ask_to_submit,
    "portal.accepted": ask_to_submit,
    "portal.rung": ask_to_submit,
    "portal.cancelling": ask_to_cancel,
    "portal.retried": ask_to_retry,
}


def insist(ask: Callable[[], Any]) -> Any:
    """Ask again and again until there is an answer, as a client should; a conflict says that it was done before."""
    answers: list[Any] = []

    def is_answered() -> bool:
        try:
            answers.append(ask())
        except PortalUnreachable:
            return False
        except Conflict:
            answers.append(None)
        return True

    wait_until(is_answered)
    return answers[0]


@pytest.mark.parametrize("point", ["portal.accepting", "portal.accepted"])
def test_farm_submit_makes_one_job_although_the_portal_dies_before_it_answers(farm: MortalFarm, point: str) -> None:
    before = farm.scene.scalar("SELECT count(*) FROM jobs")
    wait_until(farm.client.is_ready)
    farm.doom(point)
    said = type_farm({"FARM_URL": farm.client.url}, "submit", "a fox", "-W", "64", "-H", "64", "--steps", "2")
    assert (said.exit_code, farm.is_doomed(point)) == (0, False)
    assert farm.scene.scalar("SELECT count(*) FROM jobs") == before + 1


def test_every_crash_point_in_the_code_is_listed_and_every_listed_one_occurs() -> None:
    sources = [path for package in ("farm", "web", "workers") for path in (ROOT / package).rglob("*.py")]
    reached = re.findall(r'reach\("([^"]+)"\)', "\n".join(path.read_text() for path in sources))
    assert sorted(reached) == sorted(POINTS)


@pytest.mark.parametrize("name", ["nowhere", "points/worker.nowhere"])
def test_a_missing_crash_folder_or_an_unknown_crash_point_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "points").mkdir()
    (tmp_path / "points" / "worker.nowhere").touch()
    with pytest.raises(ConfigError, match="FARM_CRASH_POINTS"):
        arm(tmp_path / name.partition("/")[0])
