"""A farm's folder may be called anything that a disk takes."""

import tempfile
from pathlib import Path

import pytest
import redis

from farm import config
from farm.db import migrate
from farm.embedded.postgres import Postgres
from farm.embedded.redis import Redis
from farm.queue.doorbell import Doorbell, queue_name
from farm.store.protocol import open_store


@pytest.fixture(scope="module", params=["a%20b%s", "a#b?c&d=e", "ä ไ+{x}$y;'"])
def folder(request: pytest.FixtureRequest, server_folder: Path) -> Path:
    folder = Path(tempfile.mkdtemp(dir=server_folder)) / request.param
    folder.mkdir(mode=0o711)
    folder.parent.chmod(0o711)
    return folder


def test_a_database_in_an_oddly_named_folder_is_migrated(folder: Path) -> None:
    server = Postgres(folder / "pg", folder / "run", settings={"fsync": "off"})
    server.start()
    migrate.upgrade(server.url)
    server.stop()


def test_a_bell_in_an_oddly_named_folder_rings(folder: Path) -> None:
    server = Redis(folder / "redis", folder / "bell")
    server.start()
    bell = Doorbell(server.url)
    bell.ring("default")
    with redis.Redis.from_url(server.url) as client:
        assert client.llen(queue_name("default")) == 1
    bell.close()
    server.stop()


def test_a_store_in_an_oddly_named_folder_keeps_objects(folder: Path) -> None:
    store = open_store(config.load_given(store_url=(folder / "artifacts").as_uri(), secret_key="x" * 16))
    store.put("a.png", b"content", "image/png")
    assert (folder / "artifacts" / "a.png").read_bytes() == b"content"


def test_a_release_in_an_oddly_named_folder_finds_its_migrations(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "migrations").symlink_to(migrate.SCRIPTS)
    monkeypatch.setattr(migrate, "SCRIPTS", folder / "migrations")
    server = Postgres(folder / "pg2", folder / "run2", settings={"fsync": "off"})
    server.start()
    migrate.upgrade(server.url)
    server.stop()
