"""A small checkpoint with random weights, built once, and what renders and delivers with it."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree
from typing import Any

import pytest
import torch

from farm.queue.claim import ClaimedCheckpoint
from farm.weights.folder import inspect_folder
from workers.bench import random_checkpoint
from workers.model.pipelines import Pipelines


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def demo_folder() -> Iterator[Path]:
    parent = Path(tempfile.mkdtemp(prefix="farm-demo-"))
    random_checkpoint.build(parent / "demo")
    yield parent / "demo"
    rmtree(parent)


@pytest.fixture(scope="session")
def demo(demo_folder: Path) -> ClaimedCheckpoint:
    """The checkpoint as a claim names it."""
    return ClaimedCheckpoint(1, "demo", "sd15", inspect_folder(demo_folder).sha256, str(demo_folder))


@pytest.fixture(scope="session")
def pipelines(demo: ClaimedCheckpoint) -> Pipelines:
    """A CPU with the checkpoint resident."""
    pipelines = Pipelines("cpu", "auto")
    pipelines.load(demo)
    return pipelines


@pytest.fixture
def pipeline(pipelines: Pipelines, demo: ClaimedCheckpoint) -> Any:
    return pipelines.load(demo).pipeline
