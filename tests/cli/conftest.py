"""The command `farm` as it is typed, on a farm that runs."""

import os
from collections.abc import Callable

import pytest
from click.testing import CliRunner, Result

from farm.cli.main import main
from tests.farms import RunningFarm

Farm = Callable[..., Result]


def type_farm(environment: dict[str, str], *arguments: str) -> Result:
    """Run the command in an environment that has no other setting of a farm."""
    unset = {name: None for name in os.environ if name.startswith("FARM_")}
    return CliRunner(env={**unset, **environment}).invoke(main, arguments)


@pytest.fixture(scope="session")
def farm(running: RunningFarm) -> Farm:
    """Type a command on the machine of the farm: only the data folder says where it is."""
    environment = {"FARM_DATA_DIR": str(running.farm.settings.data_dir)}
    return lambda *arguments: type_farm(environment, *map(str, arguments))
