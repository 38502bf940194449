"""Every process is killed at every place that has a name, and no promise breaks."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from farm.client import Client, PortalUnreachable
from farm.config import Settings, http_url
from farm.crashpoints import POINTS, arm
from farm.errors import ConfigError, Conflict
from farm.store import Store
from tests.chaos.conftest import Run
from tests.chaos.processes import Kept
from tests.chaos.promises import broken
from tests.cli.conftest import type_farm
from tests.e2e.conftest import wait_until
from tests.factories import Scene, a_checkpoint, a_request

ROOT = Path(__file__).resolve().parents[2]
SLOW = {"CHAOS_STEP_SECONDS": "0.03"}
SMALL = {"width": 64, "height": 64, "num_inference_steps": 2}


@pytest.fixture
def charge(tmp_path: Path) -> Path:
    """The file that lets a crash point go off once."""
    file = tmp_path / "charge"
    file.touch()
    return file


def submit(scene: Scene, **fields: object) -> int:
    return scene.submit(**{"images_per_prompt": 3, **SMALL, **fields})


def finish(scene: Scene) -> None:
    wait_until(lambda: scene.scalar("SELECT count(*) FROM jobs WHERE finished_at IS NULL") == 0)


def children(parent: Kept) -> list[psutil.Process]:
    return psutil.Process(parent.process.pid).children(recursive=True)


@pytest.mark.parametrize("point", [name for name in POINTS if name.startswith("worker.")])
def test_a_worker_killed_there_breaks_no_promise(
    scene: Scene, store: Store, run: Run, charge: Path, point: str
) -> None:
    run("farm", "keeper")
    parent = run("tests.chaos.worker", "--devices", "cpu", FARM_CRASH_POINT=f"{point}@{charge}", **SLOW)
    submit(scene)
    if point in ("worker.failing", "worker.failed"):
        submit(scene, prompts=["fail"], images_per_prompt=1)
    if point == "worker.handing_back":
        drain_while_rendering(scene, parent)
    wait_until(lambda: not charge.exists())
    finish(scene)
    assert broken(scene.database, store) == []


@pytest.mark.parametrize("point", ["worker.spooled", "worker.uploaded", "worker.stored", "worker.publishing"])
def test_an_image_in_the_spool_outlives_its_worker(scene: Scene, run: Run, charge: Path, point: str) -> None:
    run("tests.chaos.worker", "--devices", "cpu", FARM_CRASH_POINT=f"{point}@{charge}")
    submit(scene, images_per_prompt=1)
    finish(scene)
    assert not charge.exists()
    assert scene.scalar("SELECT array_agg(outcome) FROM attempts") == ["succeeded"]


def drain_while_rendering(scene: Scene, parent: Kept) -> None:
    """End the parent while its child renders something long; both are started again."""
    submit(scene, num_inference_steps=150, images_per_prompt=1)
    wait_until(lambda: scene.scalar("SELECT count(*) FROM tasks WHERE status = 'running' AND job_id = 2"))
    parent.process.terminate()


@pytest.mark.parametrize("point", [name for name in POINTS if name.startswith("parent.")])
def test_a_parent_killed_there_breaks_no_promise(
    scene: Scene, store: Store, run: Run, charge: Path, point: str
) -> None:
    run("farm", "keeper")
    submit(scene, num_inference_steps=50)
    parent = run("tests.chaos.worker", "--devices", "cpu", FARM_CRASH_POINT=f"{point}@{charge}")
    if point != "parent.registered":
        wait_until(lambda: "running" in scene.statuses(1))
        children(parent)[0].kill()
    wait_until(lambda: not charge.exists())
    finish(scene)
    assert broken(scene.database, store) == []


@pytest.mark.parametrize("point", [name for name in POINTS if name.startswith("keeper.")])
def test_a_keeper_killed_there_breaks_no_promise(
    scene: Scene, store: Store, run: Run, charge: Path, point: str
) -> None:
    submit(scene)
    scene.let_leases_end(*scene.claim(scene.worker(), limit=2))
    run("farm", "keeper", FARM_CRASH_POINT=f"{point}@{charge}")
    wait_until(lambda: not charge.exists())
    run("tests.chaos.worker", "--devices", "cpu")
    finish(scene)
    assert broken(scene.database, store) == []


@pytest.mark.parametrize("point", [name for name in POINTS if name.startswith("portal.")])
def test_a_portal_killed_there_breaks_no_promise(
    scene: Scene, store: Store, quick: Settings, run: Run, charge: Path, point: str
) -> None:
    a_checkpoint(scene.database)
    run("farm", "keeper")
    run("tests.chaos.worker", "--devices", "cpu")
    run("web", FARM_CRASH_POINT=f"{point}@{charge}")
    with Client(http_url(quick.host, quick.port)) as client:
        wait_until(client.is_ready)
        REQUESTS[point](client)
        assert not charge.exists()
        wait_until(client.is_ready)
    finish(scene)
    assert broken(scene.database, store) == []
    assert scene.scalar("SELECT count(*) FROM jobs") == 1


def ask_to_submit(client: Client, **fields: object) -> int:
    request = a_request(**{**SMALL, **fields})
    return insist(lambda: client.submit(request, idempotency_key="order-17"))[0].id


def ask_to_cancel(client: Client) -> None:
    job_id = ask_to_submit(client, num_inference_steps=150)
    insist(lambda: client.act(job_id, "cancel"))


def ask_to_retry(client: Client) -> None:
    job_id = ask_to_submit(client, prompts=["fail"])
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
def test_farm_submit_makes_one_job_although_the_portal_dies_before_it_answers(
    scene: Scene, quick: Settings, run: Run, charge: Path, point: str
) -> None:
    a_checkpoint(scene.database)
    run("web", FARM_CRASH_POINT=f"{point}@{charge}")
    url = http_url(quick.host, quick.port)
    with Client(url) as client:
        wait_until(client.is_ready)
    said = type_farm({"FARM_URL": url}, "submit", "a fox")
    assert (said.exit_code, charge.exists()) == (0, False)
    assert scene.scalar("SELECT count(*) FROM jobs") == 1


def test_every_place_that_is_reached_has_a_name_and_every_name_a_place() -> None:
    sources = [path for package in ("farm", "web", "workers") for path in (ROOT / package).rglob("*.py")]
    reached = re.findall(r'reach\("([^"]+)"\)', "\n".join(path.read_text() for path in sources))
    assert sorted(reached) == sorted(POINTS)


@pytest.mark.parametrize("setting", ["worker.nowhere@/tmp/file", "worker.claimed", "worker.claimed@"])
def test_a_place_without_a_name_is_refused(setting: str) -> None:
    with pytest.raises(ConfigError, match="FARM_CRASH_POINT"):
        arm(setting)
