"""What the attacks share."""

from collections.abc import Iterator

import pytest

from tests.costs import Meter
from tests.web.conftest import client, open_portal

__all__ = ["client", "costs", "open_portal"]


@pytest.fixture(autouse=True)
def _bounded(request: pytest.FixtureRequest) -> Iterator[None]:
    """An attack that says no bounds of its own has these, the start of the programs it needs included."""
    if "costs" in request.fixturenames:
        yield
        return
    with Meter(request).at_most(seconds=120, mebibytes=1_500):
        yield


@pytest.fixture
def costs(request: pytest.FixtureRequest) -> Meter:
    """Measures and bounds what the test's attack costs; it is printed after the run."""
    return Meter(request)
