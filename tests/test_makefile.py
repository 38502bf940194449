"""What `make` would do to install the farm."""

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
    assert "--extra-index-url https://download.pytorch.org/whl/cpu" in commands(venv, "TORCH=cpu")
    assert "--extra-index-url http://mirror/" in commands(venv, "TORCH=cpu", "TORCH_INDEX=http://mirror/")
    assert "--extra-index-url" not in commands(venv)


def test_what_cuda_takes_is_said_before_anything_is_downloaded(venv: Path) -> None:
    said = commands(venv)
    assert said.index("add TORCH=cpu to the same command") < said.index("pip install")
