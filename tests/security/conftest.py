"""What the attacks share."""

import pytest

from tests.costs import Meter
from tests.web.conftest import client as client
from tests.web.conftest import open_portal as open_portal


@pytest.fixture
def costs(request: pytest.FixtureRequest) -> Meter:
    """Measures and bounds what the test's attack costs; it is printed after the run."""
    return Meter(request)
