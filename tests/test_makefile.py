"""What `make` would do to install the farm."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    """A venv that is not there yet."""
    return tmp_path / "venv"


def commands(venv: Path, *variables: str) -> str:
    """The commands of `make VARIABLES` that install into a venv, none of them run."""
    make = ["make", "--dry-run", f"VENV={venv}", *variables, f"{venv}/.up"]
    return subprocess.run(make, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_torch_for_the_cpu_comes_from_its_own_index(venv: Path) -> None:
    assert "--index-url https://download.pytorch.org/whl/cpu" in commands(venv, "TORCH=cpu")
    assert "--index-url http://mirror/" in commands(venv, "TORCH=cpu", "TORCH_INDEX=http://mirror/")
    assert "--index-url" not in commands(venv)


def test_the_way_to_install_without_cuda_is_named_before_any_download(venv: Path) -> None:
    said = commands(venv)
    assert said.index("add TORCH=cpu to the same command") < said.index("pip install")


def test_an_index_that_cannot_be_reached_is_reported_at_once(venv: Path) -> None:
    """Asked for every package, with retries, it took a quarter of an hour."""
    made = subprocess.run(
        ["make", f"VENV={venv}", "TORCH=cpu", "TORCH_INDEX=http://127.0.0.1:1/", f"{venv}/.up"],
        cwd=ROOT,
        # Without the wheels that this machine may keep for pip.
        env={**{k: v for k, v in os.environ.items() if k != "PIP_FIND_LINKS"}, "PIP_CONFIG_FILE": os.devnull},
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode != 0
    assert "TORCH=cpu: torch cannot be had from http://127.0.0.1:1/" in made.stdout
