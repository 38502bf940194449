"""A portal on the test's own farm, and clients of it."""

from collections.abc import Callable, Iterator

import pytest
from flask.testing import FlaskClient

from farm.config import Settings
from farm.db.connection import Database
from farm.queue.doorbell import Doorbell
from tests.factories import a_checkpoint
from web.app import create_app
from web.services import Services

OpenPortal = Callable[..., FlaskClient]


@pytest.fixture
def open_portal(settings: Settings, database: Database, doorbell: Doorbell) -> Iterator[OpenPortal]:
    """Opens portals whose settings differ from the test's by what it says."""
    opened: list[Services] = []

    def open_one(**changes: object) -> FlaskClient:
        app = create_app(settings.model_copy(update=changes))
        opened.append(app.extensions["farm"])
        return app.test_client()

    yield open_one
    for services in opened:
        services.close()


@pytest.fixture
def client(open_portal: OpenPortal, database: Database) -> FlaskClient:
    """A client on loopback, of a farm with the checkpoint `demo`."""
    a_checkpoint(database)
    return open_portal()
