"""Real servers for every test: a Postgres and a Redis of our own, one pair for each test process."""

import gc
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import redis
from sqlalchemy import delete, text
from xdist.scheduler import LoadScopeScheduling

from farm import config
from farm.config import Settings
from farm.db import migrate
from farm.db.connection import Database, Role
from farm.db.tables.schema import METADATA
from farm.embedded.postgres import Postgres
from farm.embedded.redis import Redis
from farm.queue.doorbell import Doorbell
from farm.store.protocol import Store, open_store
from tests import costs
from tests.clocks import SetClock
from tests.factories import Scene
from tests.farms import SHARED_FOLDER, RunningFarm, passable_folder, run_farm

SECRET = "a secret key for tests only"

# Several farms render at once on few cores: threads of theirs that spin while they wait take the others' time.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# Hundreds of processes start here: each would compile the farm anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# How long an example takes says nothing on a machine that runs several tests at once.
hypothesis.settings.register_profile("suite", deadline=None)
hypothesis.settings.load_profile("suite")

# A shell's background job ignores Ctrl-C, and so would all that it starts: tests that send it would wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)


# Files whose tests share a farm, so they want one process.
_ON_ONE_FARM = {
    "tests/cli/test_commands.py": "running",
    "tests/cli/test_submit.py": "running",
    "tests/e2e/test_prompts_are_followed.py": "running",
    "tests/e2e/test_connections.py": "running",
    "tests/e2e/test_render.py": "running",
    "tests/e2e/test_devices.py": "two_workers",
    "tests/e2e/test_faults.py": "two_workers",
}

# Files whose tests take long by themselves: begun last, one of them would be waited for.
_LONGEST = (
    *_ON_ONE_FARM,
    "test_installs",
    "e2e/",
    "chaos/",
    "tests/bench/",
    "farm/db/test_timeouts_and_vacuum",
    "tests/model/",
    "web/test_fuzz",
    "cli/",
)


# As in `farm.imports`: while thousands of modules come, the collector would look through them again and again.
gc.disable()


def pytest_configure(config: pytest.Config) -> None:
    """The first process of a run makes and removes the folder that all share."""
    if not hasattr(config, "workerinput"):
        folder = passable_folder()
        os.environ[SHARED_FOLDER] = str(folder)
        config.add_cleanup(lambda: shutil.rmtree(folder))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    return _ByFile(config, log)


class _ByFile(LoadScopeScheduling):
    """Tests of a file run in one process, and so do those of all files that share a farm."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::", 1)[0]
        return _ON_ONE_FARM.get(file, file)


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, each kept together; all else in the order that was drawn."""
    items.sort(key=lambda item: next((n for n, name in enumerate(_LONGEST) if name in item.nodeid), len(_LONGEST)))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    costs.summary(terminalreporter)


@pytest.fixture(scope="session")
def server_folder() -> Iterator[Path]:
    """A short path that Postgres' own user may pass, which pytest's private folders are not."""
    folder = Path(tempfile.mkdtemp(prefix="farm-test-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def running() -> Iterator[RunningFarm]:
    """A farm with one CPU worker, for all tests that leave it as it was."""
    with run_farm("cpu", max_attempts=1) as farm:
        yield farm


@pytest.fixture(scope="session")
def two_workers() -> Iterator[RunningFarm]:
    """A farm with two CPU workers, which may be killed: it replaces them."""
    with run_farm("cpu:2") as farm:
        yield farm


@pytest.fixture(scope="session")
def postgres(server_folder: Path) -> Iterator[Postgres]:
    """A migrated server; it need not survive a power cut, so it does not sync."""
    server = Postgres(server_folder / "pg", server_folder / "pg-run", settings={"fsync": "off"})
    server.start()
    migrate.upgrade(server.url)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def redis_server(server_folder: Path) -> Iterator[Redis]:
    server = Redis(server_folder / "redis", server_folder / "redis-run")
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session", autouse=True)
def _no_farm_from_outside() -> Iterator[None]:
    """A shell that knows a farm must not lead the tests to it."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("FARM_DATABASE_URL", "FARM_REDIS_URL", "FARM_STORE_URL", "FARM_URL", "FARM_DATA_DIR"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture
def settings(postgres: Postgres, redis_server: Redis, tmp_path: Path) -> Settings:
    return settings_in(tmp_path, postgres, redis_server)


def settings_in(folder: Path, postgres: Postgres, redis_server: Redis) -> Settings:
    """Settings of a farm whose every part is the tests' own."""
    return config.load(
        data_dir=folder / "data",
        database_url=postgres.url,
        redis_url=redis_server.url,
        store_url=f"file://{folder}/store",
        secret_key=SECRET,
    )


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    with closing(emptied_database(settings)) as database:
        yield database


def emptied_database(settings: Settings) -> Database:
    """The migrated database, without a row but that of the user `local`, and with all ids from 1."""
    database = Database.of(settings, Role.TOOL)
    with database.begin() as session:
        # Deleted, since TRUNCATE makes new files for all tables; without triggers, so in any order.
        session.execute(text("SET LOCAL session_replication_role = replica"))
        for table in METADATA.tables.values():
            session.execute(delete(table))
        session.execute(text("SELECT setval(oid::regclass, 1, false) FROM pg_class WHERE relkind = 'S'"))
        session.execute(text("INSERT INTO users (name) VALUES ('local')"))
    return database


@pytest.fixture
def doorbell(settings: Settings) -> Iterator[Doorbell]:
    """A doorbell on an empty Redis."""
    with redis.Redis.from_url(settings.required_redis_url) as client:
        client.flushall()
    doorbell = Doorbell(settings.required_redis_url)
    yield doorbell
    doorbell.close()


@pytest.fixture
def store(settings: Settings) -> Store:
    return open_store(settings)


@pytest.fixture
def scene(database: Database, settings: Settings, doorbell: Doorbell) -> Scene:
    """An empty farm, at work."""
    return Scene(database, settings, doorbell)


@pytest.fixture
def clock(scene: Scene) -> Iterator[SetClock]:
    """A clock to be set, for what connects to Postgres through it."""
    clock = SetClock(scene)
    yield clock
    clock.remove()
