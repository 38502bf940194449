"""Who adds a download, or starts a farm, stands in a folder of strangers' files. None of them may run."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from farm.client import Client
from farm.config import Settings
from farm.db.connection import Database
from farm.embedded.machine import build_environment, find_free_port
from farm.network.runningfarm import running_farm
from farm.processes import programs
from tests.checkpoints import small_checkpoint
from tests.farms import used_folder
from tests.waiting import wait_until

FARM = Path(sys.executable).with_name("farm")
ROOT = Path(__file__).resolve().parents[2]

POISON = "with open({marker!r}, 'a') as marker: marker.write(__name__ + chr(10))\n"
MODULES = (
    *(
        "farm",
        "workers",
        "web",
        "migrations",
        "torch",
        "diffusers",
        "transformers",
        "safetensors",
        "numpy",
        "scipy",
    ),
    *(
        "peft",
        "accelerate",
        "tokenizers",
        "huggingface_hub",
        "PIL",
        "structlog",
        "sqlalchemy",
        "psycopg",
        "pydantic",
    ),
    *("celery", "celeryconfig", "kombu", "redis", "gunicorn", "flask", "click", "alembic", "boto3", "httpx"),
    *("json", "logging", "encodings", "tempfile", "hashlib", "socket", "sitecustomize", "usercustomize"),
)
PROGRAMS = ("python", "python3", "redis-server", "valkey-server", "nvidia-smi", "postgres", "initdb", "ldconfig")


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """What each poison writes itself into."""
    return tmp_path / "poison-ran"


@pytest.fixture
def poisoned(tmp_path: Path, marker: Path) -> Path:
    """A folder that holds a module of each name that the farm imports, and a program of each that it starts."""
    folder = tmp_path / "downloads"
    folder.mkdir()
    for name in MODULES:
        (folder / f"{name}.py").write_text(POISON.format(marker=str(marker)))
    for name in PROGRAMS:
        (folder / name).write_text(f"#!/bin/sh\necho {name} >> {marker}\nexit 1\n")
        (folder / name).chmod(0o755)
    for name in ("gunicorn.conf.py", "conftest.py"):
        (folder / name).write_text(POISON.format(marker=str(marker)))
    (folder / ".env").write_text("FARM_LOG_FORMAT=json\nFARM_PORT=1\n")
    return folder


def surroundings(**variables: str) -> dict[str, str]:
    """As on a machine whose PATH was put together carelessly: an empty entry is the current folder."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("FARM_")}
    return {**ours, "PATH": f":{os.environ['PATH']}:.", **variables}


def run(poisoned: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [str(FARM), *arguments]
    return subprocess.run(
        command,
        cwd=poisoned,
        env=surroundings(**variables),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture
def weights(poisoned: Path) -> Mapping[str, Path]:
    """Weights of each kind among the poison, as if all had been downloaded together."""
    save_file({"lora_unet_x.lora_down.weight": torch.ones(2, 3)}, poisoned / "ink.safetensors")
    vectors = {"string_to_param": {"*": torch.ones(2, 768)}, "name": "style"}
    torch.save(vectors, poisoned / "style.pt")
    small_checkpoint("sd15", poisoned / "small")
    return {
        "loras": poisoned / "ink.safetensors",
        "embeddings": poisoned / "style.pt",
        "vaes": poisoned / "small" / "vae",
        "checkpoints": poisoned / "small",
    }


@pytest.mark.parametrize("kind", ["loras", "embeddings", "vaes", "checkpoints"])
def test_adding_weights_runs_nothing_that_lies_beside_them(
    kind: str, weights: Mapping[str, Path], poisoned: Path, marker: Path, settings: Settings, database: Database
) -> None:
    source = weights[kind].relative_to(poisoned).as_posix()
    family = ["--family", "sd15"] if kind in ("loras", "embeddings") else []
    done = run(poisoned, kind, "add", source, "--name", "ours", *family, **build_environment(settings))
    assert not marker.exists(), marker.read_text()
    assert done.stdout.startswith("Added "), done.stderr


@pytest.fixture
def farm_folder() -> Iterator[Path]:
    folder = used_folder()
    yield folder / "data"
    shutil.rmtree(folder)


def test_a_whole_farm_runs_nothing_of_the_folder_it_is_started_in(
    poisoned: Path, marker: Path, farm_folder: Path
) -> None:
    command = [str(FARM), "up", "--port", "0", "--devices", "all"]
    given = surroundings(FARM_DATA_DIR=str(farm_folder))
    with subprocess.Popen(command, cwd=poisoned, env=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as up:
        wait_until(lambda: "url" in running_farm(farm_folder) or up.poll() is not None)
        with Client(running_farm(farm_folder)["url"]) as client:
            wait_until(lambda: client.is_ready() and [w.status for w in client.workers()] == ["idle"])
        up.terminate()
        up.communicate(timeout=60)
    assert not marker.exists(), marker.read_text()


@pytest.mark.parametrize(
    ("arguments", "ready"),
    [(["web"], "portal is open"), (["worker", "--devices", "all"], "processor"), (["keeper"], "")],
)
def test_a_part_of_a_farm_runs_nothing_of_the_folder_it_is_started_in(
    arguments: list[str], ready: str, poisoned: Path, marker: Path, settings: Settings, database: Database
) -> None:
    port = str(find_free_port("127.0.0.1", 0))
    given = surroundings(**{**build_environment(settings), "FARM_PORT": port})
    with subprocess.Popen(
        [str(FARM), *arguments], cwd=poisoned, env=given, stderr=subprocess.PIPE, text=True
    ) as part:
        assert part.stderr is not None
        said = ""
        while ready not in said and part.poll() is None:
            said += part.stderr.readline()
        part.terminate()
        part.communicate(timeout=60)
    assert not marker.exists(), marker.read_text()


@pytest.mark.parametrize("module", ["workers.bench.random_checkpoint", "workers.child"])
def test_a_program_of_a_bench_or_supervisor_runs_nothing_of_the_current_folder(
    module: str, poisoned: Path, marker: Path
) -> None:
    # Without arguments it ends once it has imported all that it needs.
    subprocess.run(
        programs.build_command(module),
        cwd=poisoned,
        env=programs.inherit_environment(),
        capture_output=True,
        check=False,
    )
    assert not marker.exists(), marker.read_text()


@pytest.mark.parametrize("paths", ["", ":", ".", "downloads", f":{os.pathsep}."])
def test_a_search_path_that_names_the_current_folder_is_not_handed_on(
    paths: str, poisoned: Path, marker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", paths)
    monkeypatch.setenv("PATH", f"{paths}:{os.environ['PATH']}")
    child = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import click'], check=True)"
    subprocess.run(
        programs.build_snippet_command(child), cwd=poisoned, env=programs.inherit_environment(), check=True
    )
    subprocess.run(
        programs.build_snippet_command("import click"),
        cwd=poisoned.parent,
        env=programs.strip_environment(),
        check=True,
    )
    assert not marker.exists(), marker.read_text()


def test_a_program_is_not_found_in_the_current_folder(poisoned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(poisoned)
    assert programs.find("valkey-server", f":.:{os.pathsep}") is None
    assert programs.find("valkey-server", str(poisoned)) == str(poisoned / "valkey-server")


def test_the_process_that_reads_weights_knows_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FARM_SECRET_KEY", "FARM_DATABASE_URL", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "PGPASSWORD"):
        monkeypatch.setenv(name, "a secret")
    assert "a secret" not in programs.strip_environment().values()
    assert programs.strip_environment()["PATH"] == programs.inherit_environment()["PATH"]


def test_python_is_started_in_one_place() -> None:
    # And where a worker begins itself again, as it was started.
    users = [
        module.relative_to(ROOT).as_posix()
        for package in ("farm", "workers", "web", "migrations")
        for module in (ROOT / package).rglob("*.py")
        if "sys.executable" in module.read_text()
    ]
    assert sorted(users) == ["farm/processes/programs.py", "workers/loop/unfit.py"]
