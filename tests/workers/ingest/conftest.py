"""Small checkpoints, and ways to take them in without starting a process."""

import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import rmtree

import pytest

from tests.checkpoints import small_checkpoint
from workers.ingest.request import Request
from workers.ingest.run import ingest

Checkpoints = Callable[[str], Path]
Ingest = Callable[..., dict[str, object]]


@pytest.fixture(scope="session")
def checkpoints() -> Iterator[Checkpoints]:
    """The folder of a small checkpoint of a family, built when it is first asked for."""
    parent = Path(tempfile.mkdtemp(prefix="farm-checkpoints-"))
    yield lambda family: small_checkpoint(family, parent / family)
    rmtree(parent)


@pytest.fixture
def take_in(tmp_path: Path) -> Ingest:
    """Takes a source in within this process; what it answers holds the target as `folder`."""

    def call(source: Path, target: str = "taken", **wishes: object) -> dict[str, object]:
        request = {"kind": "checkpoint", "source": str(source), "target": str(tmp_path / target), **wishes}
        path = tmp_path / "request.json"
        path.write_text(json.dumps(request, default=str))
        return {**ingest(Request.read(path)), "folder": tmp_path / target}

    return call
