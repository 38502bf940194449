"""A hub to download from, and the settings of a farm that knows no other."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from farm.config import Settings
from tests.farm.weights.hub.server import FakeHub, running_hub


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with running_hub() as running:
        yield running


@pytest.fixture
def hub_settings(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name in ("FARM_HF_TOKEN", "HF_TOKEN", "FARM_CIVITAI_TOKEN", "CIVITAI_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return Settings(data_dir=tmp_path / "data", hf_endpoint=hub.url, civitai_endpoint=hub.url)
