"""What the attacks share."""

import pytest

from tests.costs import Meter
from tests.web.conftest import client, open_portal

__all__ = ["client", "costs", "open_portal"]


@pytest.fixture
def costs(request: pytest.FixtureRequest) -> Meter:
    """Measures and bounds what the test's attack costs; it is printed after the run."""
    return Meter(request)
