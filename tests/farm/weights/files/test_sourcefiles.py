"""Weights that this user may not read are refused in plain words, before anything opens them."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from farm.weights.files.hashing import hash_weights
from farm.weights.files.header import BadWeights
from farm.weights.files.sourcefiles import inspect_source_files

_NOBODY = 65534


@contextmanager
def without_privileges() -> Iterator[None]:
    """As a user who may not read everything: these tests may run as root."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(_NOBODY)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that others may enter, with a file that nobody may read."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        (Path(name) / "ink.safetensors").write_bytes(b"weights")
        (Path(name) / "ink.safetensors").chmod(0)
        yield Path(name)


@pytest.mark.parametrize("look", [inspect_source_files, hash_weights])
@pytest.mark.parametrize("place", ["ink.safetensors", "."])
def test_a_file_that_may_not_be_read_is_refused_by_name(folder: Path, look: object, place: str) -> None:
    assert callable(look)
    with pytest.raises(BadWeights) as caught, without_privileges():
        look(folder / place)
    assert str(caught.value) == (
        f"{folder / 'ink.safetensors'} cannot be read: permission denied. Give this user the right to read it."
    )
