"""The README keeps up with the code."""

from pathlib import Path

import click
import pytest

from farm.cli.main import main
from farm.config import Settings
from farm.samplers import SAMPLERS

README = Path(__file__).parents[1].joinpath("README.md").read_text()


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_is_in_its_table(name: str) -> None:
    assert f"`FARM_{name.upper()}`" in README


@pytest.mark.parametrize("name", main.list_commands(click.Context(main)))
def test_every_command_is_named(name: str) -> None:
    assert f"farm {name}" in README or f"|{name}" in README


def test_every_sampler_is_named() -> None:
    assert all(name in README for name in SAMPLERS)
