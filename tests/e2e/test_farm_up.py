"""`farm up` as a person runs it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from shutil import rmtree

import psutil
import pytest

from farm import config
from farm.client import Client
from farm.db.connection import Database, Role
from farm.embedded.machine import LocalFarm, find_free_port
from farm.network.addresses import http_url
from farm.network.runningfarm import running_farm
from farm.weights import checkpoints
from tests.cli.conftest import type_farm
from tests.factories import a_checkpoint
from tests.farms import Foundation, passable_folder, used_folder
from tests.waiting import wait_until

NOWHERE = "http://127.0.0.1:1"


def data_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The data folder in a folder that goes when the test ends; commands take it.

    Its name means something in addresses, and in settings of programs.
    """
    data = folder / "da%20ta #1?"
    for name in ("data", "data-postgres"):
        if (folder / name).exists():
            (folder / name).rename(folder / name.replace("data", data.name, 1))
    monkeypatch.setenv("FARM_DATA_DIR", str(data))
    yield data
    rmtree(folder)


@pytest.fixture
def new_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The data folder of a farm to be, which is not there yet."""
    yield from data_in(passable_folder(), monkeypatch)


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The data folder of a farm that ran before."""
    yield from data_in(used_folder(), monkeypatch)


def start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "farm", "up", "--port", "0", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for_portal(folder: Path) -> str:
    """The portal's address, once it answers."""
    wait_until(lambda: "url" in running_farm(folder))
    url = running_farm(folder)["url"]
    with Client(url) as client:
        wait_until(client.is_ready)
    return url


def leftovers(folder: Path) -> list[psutil.Process]:
    """Processes that still work on the folder."""
    everyone = psutil.process_iter(["cmdline"])
    return [p for p in everyone if p.pid != os.getpid() and str(folder) in " ".join(p.info["cmdline"] or ())]


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_farm_up_stops_cleanly_and_leaves_no_process(folder: Path, ending: signal.Signals) -> None:
    with start() as farm:
        wait_for_portal(folder)
        everyone = [psutil.Process(farm.pid), *psutil.Process(farm.pid).children(recursive=True)]
        farm.send_signal(ending)
        assert farm.wait(60) == 0
    assert psutil.wait_procs(everyone, timeout=5)[1] == []
    assert leftovers(folder) == []


def test_the_children_of_farm_up_end_when_it_is_killed(folder: Path) -> None:
    with start() as farm:
        wait_for_portal(folder)
        children = psutil.Process(farm.pid).children(recursive=True)
        farm.kill()
    assert psutil.wait_procs(children, timeout=30)[1] == []


def test_data_survives_a_restart_and_the_folder_is_private(new_folder: Path) -> None:
    with start("--demo", "--stop-when-done") as farm:
        assert farm.wait(180) == 0
    with start() as farm:
        with Client(wait_for_portal(new_folder)) as client:
            jobs = client.jobs()
        farm.terminate()
        farm.wait(60)
    assert [(job.name, job.images.succeeded) for job in jobs] == [("demo", 12)]
    assert new_folder.stat().st_mode & 0o777 == 0o700
    assert len(list((new_folder / "artifacts").rglob("*.png"))) >= 12


def test_the_demo_registers_and_names_its_checkpoint_beside_others(folder: Path) -> None:
    with Foundation(config.load_given(data_dir=folder, port=0), "cpu") as farm:
        with closing(Database.of(farm.settings, Role.TOOL)) as database:
            for name in ("ours", "theirs"):
                a_checkpoint(database, name)
            with database.begin() as session:
                checkpoints.remove(session, "demo")
    with start("--demo") as started:
        assert started.stdout is not None
        said = next((line for line in started.stdout if line.startswith(("Submitted", "farm:"))), "")
        started.terminate()
    assert said.startswith("Submitted a first batch of 12 images")


def test_a_portal_that_says_it_is_ready_has_a_checkpoint(new_folder: Path) -> None:
    settings = config.load_given(data_dir=new_folder, port=find_free_port("127.0.0.1", 0))
    url = http_url(settings.host, settings.port)
    with ThreadPoolExecutor(1) as thread, Client(url) as client:
        names = thread.submit(names_when_ready, client)
        with LocalFarm(settings, "cpu"):
            assert names.result() == ["demo"]


def names_when_ready(client: Client) -> list[str]:
    """The checkpoints at the very moment at which the portal says for the first time that it is ready."""
    wait_until(client.is_ready)
    return [checkpoint.name for checkpoint in client.checkpoints()]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FARM_DATABASE_URL", "mysql://root@localhost/farm"),
        ("FARM_REDIS_URL", "localhost:6379"),
        ("FARM_STORE_URL", "ftp://somewhere"),
        ("FARM_LEASE_SECONDS", "soon"),
    ],
)
def test_a_bad_setting_stops_the_start_and_is_named(new_folder: Path, name: str, value: str) -> None:
    said = type_farm({"FARM_DATA_DIR": str(new_folder), name: value}, "up")
    assert said.exit_code == 2
    assert name in said.output
    assert not new_folder.exists()


def test_an_unknown_device_stops_the_start_and_is_named(folder: Path) -> None:
    """The worker alone knows: in its log nobody would look, while it was started again and again."""
    with start("--devices", "gpu") as process:
        output, _ = process.communicate()
    assert process.returncode == 2
    assert "farm: --devices: 'gpu' is not a device." in output
    assert leftovers(folder) == []


def test_farm_up_names_the_device_that_renders(folder: Path) -> None:
    with start("--devices", "cpu") as process:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if line.startswith("That is the processor"):
                break
        process.send_signal(signal.SIGINT)
    assert said[-2].startswith("Images are rendered on cpu (")
    assert said[-1] == "That is the processor: no GPU is used.\n"


def test_a_farm_comes_up_where_a_proxy_is_set(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", NOWHERE)
    monkeypatch.setenv("ALL_PROXY", NOWHERE.replace("http:", "socks5:"))
    with start() as farm:
        wait_for_portal(folder)
        farm.send_signal(signal.SIGINT)
        assert farm.wait(60) == 0
